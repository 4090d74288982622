package journal

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"farshore"
	"farshore/dataplane/chain"
	"farshore/dataplane/segment"
	"farshore/dataplane/vault"
)

func TestWhatIsCommittedIsReadBackAndOffered(t *testing.T) {
	w := newWorld(t)
	writer, resume := w.claim("hq-1")
	if !resume.NewGeneration || resume.Generation != 1 || resume.Epoch != 1 || resume.LastLSN != 0 || resume.Clean {
		t.Errorf("resume = %+v", resume)
	}
	w.write(writer, 1, 2, 3)
	w.wantContent(1, 1, 2, 3)
	points, err := w.reader().Points(t.Context(), web)
	if err != nil {
		t.Fatal(err)
	}
	want := []farshore.RecoveryPoint{}
	for i := range 3 {
		want = append(want, farshore.RecoveryPoint{
			Machine: web, Position: position(1, 1, farshore.Seq(i+1)), LSN: farshore.LSN(i + 1),
			Time: time.Unix(1_700_000_000, int64(i+1)).UTC(), Consistency: farshore.CrashConsistent,
		})
	}
	if d := cmp.Diff(want, points); d != "" {
		t.Errorf("points (-want +got):\n%s", d)
	}
	tail, err := w.reader().Tail(t.Context(), web)
	if err != nil || tail.Position != position(1, 1, 3) || tail.Hash != writer.Durable().Hash {
		t.Errorf("tail = %v, %v", tail.Position, err)
	}
}

func TestANewWriterFencesTheOldOneAndGoesOnBehindItsSeal(t *testing.T) {
	w := newWorld(t)
	old, _ := w.claim("hq-1")
	w.write(old, 1, 2)
	late := prepare(t, old, 3)
	next, resume := w.claim("hq-2")
	if resume.NewGeneration || resume.Epoch != 2 || resume.LastLSN != 2 || !resume.Clean || resume.Link.Position != position(1, 1, 3) {
		t.Errorf("resume = %+v", resume)
	}
	w.write(next, 4)
	for range 2 {
		if err := old.Commit(t.Context(), late); !errors.Is(err, ErrFenced) {
			t.Errorf("the old writer's commit: %v, want ErrFenced", err)
		}
	}
	w.wantContent(1, 1, 2, 4)
}

func TestAZombiesSegmentsBehindTheHoleAreNeverRead(t *testing.T) {
	w := newWorld(t)
	old, _ := w.claim("hq-1")
	w.write(old, 1)
	prepare(t, old, 2) // never arrives
	behind := prepare(t, old, 3)
	if _, err := w.store.PutIfAbsent(t.Context(), behind.Name, behind.Sealed); err != nil { // in flight together
		t.Fatal(err)
	}
	next, resume := w.claim("hq-2")
	if resume.LastLSN != 1 || resume.Link.Position != position(1, 1, 2) {
		t.Errorf("resume = %+v", resume)
	}
	w.write(next, 9)
	w.wantContent(1, 1, 9)
}

func TestEveryEpochOfAWriterThatDiedAtOnceIsSealed(t *testing.T) {
	w := newWorld(t)
	for i := range 4 {
		_, resume := w.claim(fmt.Sprintf("hq-%d", i))
		if !resume.NewGeneration {
			t.Errorf("claim %d: the generation holds nothing, but Resume says otherwise", i)
		}
	}
	for e := farshore.Epoch(1); e <= 3; e++ {
		if _, ok := w.seal(e); !ok {
			t.Errorf("epoch %d is not sealed", e)
		}
	}
}

func TestAStaleTicketClaimsNothing(t *testing.T) {
	w := newWorld(t)
	stale := w.ticket("hq-1")
	_, _, err := Claim(t.Context(), w.server("hq-1"), w.ticket("hq-1"))
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = Claim(t.Context(), w.server("hq-1"), stale)
	wantFault(t, err, "FS-3501")
	_, _, err = Claim(t.Context(), w.server("hq-1"), w.ticket("hq-1", func(t *Ticket) { t.Session-- })) // used already
	wantFault(t, err, "FS-3501")
	_, _, err = Claim(t.Context(), w.server("hq-2"), w.ticket("hq-2", func(t *Ticket) { t.Generation = 2 }))
	wantFault(t, err, "FS-3501")
}

func TestOnlyTheNamedServerMayUseATicketAndOnlyItsMachineMayIssueOne(t *testing.T) {
	w := newWorld(t)
	_, _, err := Claim(t.Context(), w.server("hq-2"), w.ticket("hq-1"))
	wantFault(t, err, "FS-3504")
	w.agent = w.ca.Node(t, farshore.RoleAgent, "web-02")
	_, _, err = Claim(t.Context(), w.server("hq-1"), w.ticket("hq-1"))
	wantFault(t, err, "FS-3504")
	forged := w.ticket("hq-1")
	forged.Payload = append([]byte(nil), forged.Payload...)
	forged.Payload[len(forged.Payload)-2] ^= 1
	_, _, err = Claim(t.Context(), w.server("hq-1"), forged)
	wantFault(t, err, "FS-3504")
}

func TestAFailoverFencesUntilANewGeneration(t *testing.T) {
	w := newWorld(t)
	old, _ := w.claim("hq-1")
	w.write(old, 1, 2)
	late := prepare(t, old, 3)
	control := w.deps(farshore.RoleControl, "control")
	link, err := Fence(t.Context(), control, web)
	if err != nil {
		t.Fatal(err)
	}
	if link.Position != position(1, 1, 3) || !link.Seal || link.LastLSN != 2 {
		t.Errorf("fenced at %+v", link)
	}
	again, err := Fence(t.Context(), control, web)
	if err != nil || again.Position != link.Position {
		t.Errorf("fenced again at %v, %v", again.Position, err)
	}
	if err := old.Commit(t.Context(), late); !errors.Is(err, ErrFenced) {
		t.Errorf("commit after the failover: %v", err)
	}
	_, _, err = Claim(t.Context(), w.server("hq-1"), w.ticket("hq-1"))
	wantFault(t, err, "FS-3502")
	if c, fenced, err := w.reader().Fenced(t.Context(), web); !fenced || err != nil || c.By.Name != "control" {
		t.Errorf("Fenced() = %v, %v, %v", c.By, fenced, err)
	}
	fresh, resume := w.claim("hq-1", func(t *Ticket) { t.NewGeneration = true })
	if resume.Generation != 2 || !resume.NewGeneration {
		t.Errorf("resume = %+v", resume)
	}
	w.write(fresh, 7)
	w.wantContent(1, 1, 2)
	w.wantContent(2, 7)
	if _, fenced, err := w.reader().Fenced(t.Context(), web); fenced || err != nil {
		t.Errorf("still fenced in the new generation: %v, %v", fenced, err)
	}
}

func TestANewGenerationSealsTheOldOne(t *testing.T) {
	w := newWorld(t)
	old, _ := w.claim("hq-1")
	w.write(old, 1)
	late := prepare(t, old, 2)
	w.claim("hq-2", func(t *Ticket) { t.NewGeneration = true })
	if err := old.Commit(t.Context(), late); !errors.Is(err, ErrFenced) {
		t.Errorf("commit in the old generation: %v, want ErrFenced", err)
	}
	if g, err := w.reader().Generations(t.Context(), web); err != nil || !cmp.Equal(g, []farshore.Generation{1, 2}) {
		t.Errorf("generations = %v, %v", g, err)
	}
}

func TestAnotherInstallationNeverContinuesAStream(t *testing.T) {
	w := newWorld(t)
	writer, _ := w.claim("hq-1")
	w.write(writer, 1)
	clone := func(t *Ticket) { t.Instance = "instance-2" }
	_, _, err := Claim(t.Context(), w.server("hq-1"), w.ticket("hq-1", clone))
	wantFault(t, err, "FS-3503")
	w.now = w.now.Add(2 * recently)
	_, resume := w.claim("hq-1", clone)
	if resume.Generation != 2 || !resume.NewGeneration {
		t.Errorf("resume = %+v, want a new generation", resume)
	}
}

func TestAnEpochIsWalkedFromNearItsEnd(t *testing.T) {
	w := newWorld(t)
	counted := &counting{Store: w.store}
	w.store = counted
	writer, _ := w.claim("hq-1")
	for i := range 4 * chain.MaxInFlight {
		w.write(writer, byte(i%200))
	}
	counted.gets.Store(0)
	_, resume := w.claim("hq-2")
	if resume.LastLSN != 4*chain.MaxInFlight {
		t.Errorf("resume behind LSN %d, want %d", resume.LastLSN, 4*chain.MaxInFlight)
	}
	if n := counted.gets.Load(); n > chain.MaxInFlight+10 {
		t.Errorf("the take-over read %d objects, want at most %d", n, chain.MaxInFlight+10)
	}
	points, err := w.reader().Points(t.Context(), web)
	if err != nil || len(points) != 4*chain.MaxInFlight {
		t.Errorf("%d points, %v; want %d", len(points), err, 4*chain.MaxInFlight)
	}
}

// counting counts whole objects read.
type counting struct {
	vault.Store
	gets atomic.Int64
}

func (c *counting) Get(ctx context.Context, name string) ([]byte, error) {
	c.gets.Add(1)
	return c.Store.Get(ctx, name)
}

func (c *counting) List(ctx context.Context, prefix, after string) iter.Seq2[vault.Entry, error] {
	return c.Store.List(ctx, prefix, after)
}

func TestOfManyServersAtOnceNoAcknowledgedSegmentIsLost(t *testing.T) {
	w := newWorld(t)
	const servers, rounds = 6, 4
	var mu sync.Mutex
	durable := map[segment.Hash]farshore.Position{}
	var group sync.WaitGroup
	for s := range servers {
		d := w.server(fmt.Sprintf("hq-%d", s))
		group.Go(func() {
			for range rounds {
				writer, _, err := Claim(t.Context(), d, w.ticket(fmt.Sprintf("hq-%d", s)))
				if err != nil {
					continue
				}
				var some []Prepared
				for i := range 3 {
					some = append(some, prepare(t, writer, byte(s*10+i)))
				}
				for i, err := range commitAtOnce(t, writer, some) {
					if err == nil {
						mu.Lock()
						durable[some[i].Hash] = some[i].Header.Position()
						mu.Unlock()
					}
				}
			}
		})
	}
	group.Wait()
	r := w.reader()
	for seg, err := range r.Follow(t.Context(), r.Start(web, 1)) {
		if err != nil {
			t.Fatal(err)
		}
		delete(durable, seg.Hash())
	}
	if len(durable) > 0 {
		t.Errorf("acknowledged, but not in the readable stream: %v", durable)
	}
}

func TestPrepareRefusesAHoleInTheRecords(t *testing.T) {
	w := newWorld(t)
	writer, _ := w.claim("hq-1")
	w.write(writer, 1)
	h := segment.Header{FirstLSN: 3, LastLSN: 3, Disks: []segment.Disk{{ID: "disk-1", Sectors: 10}}}
	var broken *chain.Break
	if _, err := writer.Prepare(&segment.Builder{}, h); !errors.As(err, &broken) {
		t.Errorf("err = %v, want a Break", err)
	}
	h.Jump = true
	if _, err := writer.Prepare(&segment.Builder{}, h); err != nil {
		t.Errorf("a jump: %v", err)
	}
}

func TestTheTimeOfTheStreamNeverRunsBackwards(t *testing.T) {
	w := newWorld(t)
	writer, _ := w.claim("hq-1")
	late := time.Unix(2_000_000_000, 0).UTC()
	h := segment.Header{FirstLSN: 1, LastLSN: 0, UTC: late, Disks: []segment.Disk{{ID: "disk-1", Sectors: 10}}}
	p, err := writer.Prepare(&segment.Builder{}, h)
	if err != nil {
		t.Fatal(err)
	}
	if err := writer.Commit(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	next, _ := w.claim("hq-2")
	h.UTC = late.Add(-time.Hour)
	if p, err = next.Prepare(&segment.Builder{}, h); err != nil || !p.Header.UTC.Equal(late) || !p.Header.Suspect {
		t.Errorf("UTC = %v, suspect %v, %v; want %v, suspect", p.Header.UTC, p.Header.Suspect, err, late)
	}
	h.UTC = late.Add(-ClockTolerance)
	if p, err = next.Prepare(&segment.Builder{}, h); err != nil || !p.Header.UTC.Equal(late) || p.Header.Suspect {
		t.Errorf("UTC = %v, suspect %v, %v; want %v, not suspect", p.Header.UTC, p.Header.Suspect, err, late)
	}
}

func TestOnlyCleanEndsAreOfferedAndNothingBehindASeal(t *testing.T) {
	w := newWorld(t)
	old, _ := w.claim("hq-1")
	unclean := segment.Header{FirstLSN: 1, LastLSN: 0, Copy: true, Disks: []segment.Disk{{ID: "disk-1", Sectors: 1000}}}
	p, err := old.Prepare(&segment.Builder{}, unclean)
	if err != nil {
		t.Fatal(err)
	}
	if err := old.Commit(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	w.write(old, 1)
	prepare(t, old, 2) // never arrives: the seal takes its place
	behind := prepare(t, old, 3)
	if _, err := w.store.PutIfAbsent(t.Context(), behind.Name, behind.Sealed); err != nil {
		t.Fatal(err)
	}
	next, _ := w.claim("hq-2")
	w.write(next, 4)
	points, err := w.reader().Points(t.Context(), web)
	if err != nil {
		t.Fatal(err)
	}
	var got []farshore.Position
	for _, p := range points {
		got = append(got, p.Position)
	}
	if want := []farshore.Position{position(1, 1, 2), position(1, 2, 1)}; !cmp.Equal(got, want) {
		t.Errorf("points at %v, want %v", got, want)
	}
}

func TestAClaimBehindAGapIsIgnored(t *testing.T) {
	w := newWorld(t)
	w.claim("hq-1")
	if _, err := w.store.PutIfAbsent(t.Context(), chain.ClaimName(web, 1, 1<<31), []byte("{}")); err != nil {
		t.Fatal(err)
	}
	if _, err := w.store.PutIfAbsent(t.Context(), chain.ClaimName(web, 9, 2), []byte("{}")); err != nil {
		t.Fatal(err)
	}
	if _, resume := w.claim("hq-1"); resume.Generation != 1 || resume.Epoch != 2 {
		t.Errorf("claimed generation %d, epoch %d; want 1, 2", resume.Generation, resume.Epoch)
	}
}

func TestMachinesAndTheirNewestSpecAreListed(t *testing.T) {
	w := newWorld(t)
	control := w.deps(farshore.RoleControl, "control")
	w.claim("hq-1")
	spec := farshore.MachineSpec{ID: "db-01", Hostname: "db", OS: "linux", Firmware: farshore.UEFI, CPUs: 2, MemoryBytes: 1 << 30}
	for _, cpus := range []int{2, 2, 4} {
		spec.CPUs = cpus
		if err := PutSpec(t.Context(), control, spec); err != nil {
			t.Fatal(err)
		}
	}
	r := w.reader()
	machines, err := r.Machines(t.Context())
	if err != nil || !cmp.Equal(machines, []farshore.MachineID{"db-01", web}) {
		t.Errorf("machines = %v, %v", machines, err)
	}
	got, err := r.Spec(t.Context(), "db-01")
	if d := cmp.Diff(spec, got); d != "" || err != nil {
		t.Errorf("spec (%v) (-want +got):\n%s", err, d)
	}
	if n, _, err := specs("db-01").newest(t.Context(), r); n != 2 || err != nil {
		t.Errorf("%d specs are stored, %v; want 2: equal ones are not stored again", n, err)
	}
	_, err = r.Points(t.Context(), "db-01")
	wantFault(t, err, "FS-3512")
	_, err = r.Spec(t.Context(), web)
	wantFault(t, err, "FS-3512")
}
