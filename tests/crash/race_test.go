package crash

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"farshore"
	"farshore/dataplane/block"
	"farshore/dataplane/credential"
	"farshore/dataplane/disk/disktest"
	"farshore/dataplane/journal"
	"farshore/dataplane/segment"
	"farshore/dataplane/session"
	"farshore/dataplane/uplink"
	"farshore/fault"
	"farshore/tests/lab/site"
	"farshore/tests/setting"
)

const (
	// shortRaces is how many rounds two servers race in the short form, racesEach in each vault of the long form.
	shortRaces = 30
	racesEach  = 100
	raceDisk   = 64 // sectors
	// longestLead bounds how much earlier one of two sessions is opened.
	longestLead = 30 * time.Millisecond
	rival       = "hq-2"
)

// race is one machine and two process servers that both believe that they are its.
type race struct {
	t         *testing.T
	site      *site.Site
	node      *credential.Node
	addresses [2]string
	session   uint64
	acked     map[farshore.Position]string // what anybody was told to be durable, and with which content
	tally     map[string]int
}

// In each round the machine's sessions with both servers are opened at once and both send. Whatever either server acknowledges
// is in the stream, as it was sent; the one that the stream was taken from says so.
func TestTwoProcessServersThatRaceForAMachineAreNeverBothAcknowledged(t *testing.T) {
	rounds := setting.Number(t, "CRASH_RACES", shortRaces)
	rng := rand.New(rand.NewPCG(setting.Seed(t, "CRASH_SEED"), 1<<41))
	all := map[string]int{}
	for begin := 0; begin < rounds && !t.Failed(); begin += racesEach {
		t.Run(fmt.Sprintf("vault %d", begin/racesEach), func(t *testing.T) {
			r := newRace(t)
			for n := begin; n < min(rounds, begin+racesEach) && !t.Failed(); n++ {
				r.round(rng)
			}
			r.check()
			for what, n := range r.tally {
				all[what] += n
			}
		})
	}
	t.Logf("%d rounds: %v", rounds, all)
}

func newRace(t *testing.T) *race {
	t.Helper()
	dir := disktest.Dir(t)
	s := site.New(t, dir, lineMachine)
	r := &race{t: t, site: s, node: s.CA.Node(t, farshore.RoleAgent, string(lineMachine)), acked: map[farshore.Position]string{}, tally: map[string]int{}}
	r.addresses[0], _ = s.Serve()
	r.addresses[1], _ = s.ServeAs(s.CA.Node(t, farshore.RoleProcessServer, rival), time.Now)
	return r
}

// runner is one of the two sessions of a round.
type runner struct {
	number uint64
	acked  map[farshore.Position]string
	err    error // how it ended
}

// round lets two sessions race. The one with the higher number must win, whoever comes first.
func (r *race) round(rng *rand.Rand) {
	r.t.Helper()
	first := rng.IntN(2)
	ctx, cancel := context.WithTimeout(r.t.Context(), linePatience)
	defer cancel()
	ended := make(chan *runner, 2)
	for n := range 2 {
		r.session++
		config := r.config(r.addresses[(first+n)%2], r.session, time.Now)
		start := time.NewTimer(time.Duration(rng.Int64N(int64(longestLead))))
		go func() {
			<-start.C
			ended <- run(ctx, config, n == 1)
		}()
	}
	for range 2 {
		r.judge(<-ended)
	}
}

// run opens a session and sends until it ends; the winner ends when two of its points are durable.
func run(ctx context.Context, config uplink.Config, winner bool) *runner {
	o := &runner{number: config.Hello.Session, acked: map[farshore.Position]string{}}
	link, _, err := uplink.Open(ctx, config)
	if err != nil {
		o.err = err
		return o
	}
	done := make(chan error, 1)
	go func() { done <- link.Run(ctx) }()
	labels := make(chan string, 1<<10)
	go send(ctx, link, config, labels)
	for m := range link.Events() {
		d, ok := m.(*session.Durable)
		if !ok || !d.Cut {
			continue
		}
		o.acked[d.Position] = <-labels
		if winner && len(o.acked) == 2 {
			link.Close()
		}
	}
	o.err = <-done
	return o
}

// send sends the whole disk and a clean cut, with a label that nobody else uses, until the session ends.
func send(ctx context.Context, link *uplink.Link, config uplink.Config, labels chan<- string) {
	for n := 0; n < cap(labels); n++ {
		label := fmt.Sprintf("session %d, point %d", config.Hello.Session, n)
		labels <- label
		content := bytes.Repeat(fmt.Appendf(nil, "%-32s", label), raceDisk*block.SectorSize/32)
		b := &session.Batch{Copy: true, Jump: true, Records: []segment.Record{{Extent: block.Extent{Count: raceDisk}, Data: content}}}
		if _, err := link.Send(ctx, b); err != nil {
			return
		}
		if _, err := link.Cut(ctx, &session.Cut{Wall: config.Now(), Disks: []segment.Disk{{ID: "WD-1", Sectors: raceDisk, Clean: true}}, Label: label}); err != nil {
			return
		}
	}
}

func (r *race) config(address string, number uint64, now func() time.Time) uplink.Config {
	return uplink.Config{
		Node: r.node, Address: address, Limits: session.DefaultLimits(), Now: now,
		Hello: session.Hello{Machine: lineMachine, Session: number, Disks: []segment.Disk{{ID: "WD-1", Sectors: raceDisk}}},
		Ticket: func(server farshore.Identity) ([]byte, error) {
			signed, err := journal.SignTicket(r.node, journal.Ticket{
				Machine: lineMachine, Server: server.Name, Session: number, Instance: "i", Capture: "c", BootID: "b", Time: now(),
			})
			if err != nil {
				return nil, err
			}
			return json.Marshal(signed)
		},
	}
}

// judge takes what one of the two was told. The winner has the even number.
func (r *race) judge(o *runner) {
	r.t.Helper()
	for p, label := range o.acked {
		if other, both := r.acked[p]; both {
			r.t.Errorf("%v was acknowledged to two sessions: %q and %q", p, other, label)
		}
		r.acked[p] = label
	}
	f, ok := fault.As(o.err)
	switch {
	case !ok:
		r.t.Errorf("session %d ended with %v", o.number, o.err)
	case o.number%2 == 0 && f.Code != "FS-2008" || o.number%2 == 0 && len(o.acked) < 2:
		r.t.Errorf("the newer session %d got %d points and ended with %v", o.number, len(o.acked), f)
	case o.number%2 == 1 && f.Code == "FS-2009":
		r.tally["told that it was fenced"]++
	case o.number%2 == 1 && f.Code == "FS-3501":
		r.tally["refused as stale before it claimed"]++
	case o.number%2 == 1:
		r.t.Errorf("the older session %d was not told that it lost the stream: %v", o.number, f)
	}
	r.tally["points acknowledged"] += len(o.acked)
	if o.number%2 == 1 && len(o.acked) > 0 {
		r.tally["losers that had points of their own before"]++
	}
}

// check reads the stream: every acknowledged point is in it, as it was sent.
func (r *race) check() {
	r.t.Helper()
	reader := r.site.Reader()
	found := map[farshore.Position]string{}
	for s, err := range reader.Follow(r.t.Context(), reader.Start(lineMachine, 1)) {
		if err != nil {
			r.t.Fatal(err)
		}
		h := s.Header()
		for record, err := range s.Records() {
			if err != nil {
				r.t.Fatal(err)
			}
			if want := fmt.Sprintf("%-32s", h.Label); h.Label != "" && !bytes.HasPrefix(record.Data, []byte(want)) {
				r.t.Errorf("%v with the label %q holds %q", h.Position(), h.Label, record.Data[:32])
			}
		}
		found[h.Position()] = h.Label
	}
	for p, label := range r.acked {
		if found[p] != label {
			r.t.Errorf("%v was acknowledged as %q; the stream has %q there", p, label, found[p])
		}
	}
}
