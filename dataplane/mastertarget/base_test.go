package mastertarget

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"farshore"
	"farshore/dataplane/applier"
	"farshore/dataplane/chain"
	"farshore/dataplane/collector"
	"farshore/dataplane/host"
	"farshore/dataplane/journal"
	"farshore/dataplane/retention"
	"farshore/dataplane/vault"
)

// thin lets an applier make bases and a collector remove what the policy lets go.
func (s *stream) thin(policy string) {
	s.t.Helper()
	p, err := retention.Parse(policy)
	if err != nil {
		s.t.Fatal(err)
	}
	reader, deps := s.vault.Reader(), s.vault.Deps(farshore.RoleControl, "control")
	if err := journal.PutRetention(s.t.Context(), deps, s.ID, p); err != nil {
		s.t.Fatal(err)
	}
	a := applier.New(applier.Deps{
		Journal: reader, Store: s.vault.Store, Replicas: s.vault.Replicas, Signer: s.vault.CA.Node(s.t, farshore.RoleApplier, "applier-1"),
		Settings: applier.Settings{}.WithDefaults(vault.KindFile), Poll: time.Millisecond, Log: slog.New(slog.DiscardHandler),
	})
	ctx, cancel := context.WithCancel(s.t.Context())
	desired, ended := make(chan applier.Desired, 1), make(chan error, 1)
	desired <- applier.Desired{Machines: []farshore.MachineID{s.ID}}
	go func() { ended <- a.Run(ctx, desired) }()
	for !s.vouched(a, reader) {
		if err := host.Pause(ctx, time.Millisecond); err != nil {
			s.t.Fatal(err)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		s.t.Fatal(err)
	}
	deps.Signer = s.vault.CA.Node(s.t, farshore.RoleCollector, "collector-1")
	c := collector.New(collector.Deps{Journal: deps, Replicas: s.vault.Replicas, Every: time.Hour, Log: slog.New(slog.DiscardHandler)})
	for range 2 { // publish, then carry out: there is no grace here
		if _, err := c.Machine(s.t.Context(), s.ID); err != nil {
			s.t.Fatal(err)
		}
	}
}

// vouched reports whether the replica stands at the end and every base but the newest has its manifest.
func (s *stream) vouched(a *applier.Applier, reader journal.Reader) bool {
	s.t.Helper()
	there, err := reader.Manifests(s.t.Context(), s.ID, 1)
	if err != nil {
		s.t.Fatal(err)
	}
	marks := 0
	for _, err := range s.vault.Store.List(s.t.Context(), chain.ReplicaPrefix(s.ID, 1)+"base-", "") {
		if err != nil {
			s.t.Fatal(err)
		}
		marks++
	}
	o := a.Observed()
	return len(o.Replicas) == 1 && o.Replicas[0].Applied == s.Writer.Durable().Position && len(there) == marks-1
}

// followed is a machine whose disks at home hold all that its stream has.
func followed(t *testing.T, seed uint64) (*stream, home, *running, Machine) {
	t.Helper()
	w := newWorld(t, seed)
	s := w.machine("web-01")
	s.Segment(60, true)
	h := w.home("home")
	r, wanted := h.start(), h.files("web-01")
	r.want(wanted)
	r.await("web-01", func(o MachineObserved) bool { return o.CaughtUp && o.Applied == s.Last() })
	return s, h, r, wanted
}

// hours of writes go by, more than the policies of these tests keep whole.
func (s *stream) hours() {
	for range 14 {
		s.Clock = s.Clock.Add(10 * time.Minute)
		s.Segment(10, true)
	}
}

func TestDisksBeginWithABaseWhereTheJournalHasLostItsBeginning(t *testing.T) {
	s, h, r, wanted := followed(t, 9)
	r.stop() // and it is away while retention goes on
	s.hours()
	pinned := s.Order[3]
	err := h.deps().Journal.Hold(t.Context(), journal.Pin{Machine: "web-01", Position: pinned.String(), Holder: "ann", Why: "to look at it", Time: time.Now().UTC()})
	if err != nil {
		t.Fatal(err)
	}
	s.thin("all:15m0s,20m0s:1d")
	points, err := h.deps().Journal.Points(t.Context(), "web-01")
	if err != nil || len(points) >= len(s.Order) {
		t.Fatalf("%d of %d points are left, %v", len(points), len(s.Order), err)
	}
	again := h.start()
	for _, p := range []farshore.Position{points[len(points)-1].Position, points[1].Position, points[len(points)/2].Position, pinned} {
		wanted.Finish = p
		again.number++
		again.want(wanted)
		o := again.finished("web-01", p)
		s.judge(wanted, p)
		t.Logf("%v: %d of %d bytes compared, %d written, %d found equal", p, o.Proof.Compared, o.Proof.Total, o.Written, o.Equal)
	}
	wanted.Finish = farshore.Position{}
	again.want(wanted)
	s.Segment(10, true)
	again.await("web-01", func(o MachineObserved) bool { return o.CaughtUp && o.Applied == s.Last() })
}

func TestDisksThatRetentionOvertookBeginAgainWithABase(t *testing.T) {
	s, _, r, wanted := followed(t, 10)
	for range cap(r.windows) { // it runs and gets no turn, as one does whose disks are slow, while retention goes on
		r.windows <- struct{}{}
	}
	s.hours()
	s.thin("all:15m0s,20m0s:1d")
	for range cap(r.windows) {
		<-r.windows
	}
	r.await("web-01", func(o MachineObserved) bool { return o.CaughtUp && o.Applied == s.Last() })
	wanted.Finish = s.Last()
	r.want(wanted)
	o := r.finished("web-01", s.Last())
	s.judge(wanted, s.Last())
	t.Logf("%d of %d bytes compared, %d written, %d found equal", o.Proof.Compared, o.Proof.Total, o.Written, o.Equal)
}
