package collector

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"farshore"
	"farshore/dataplane/chain"
	"farshore/dataplane/host"
	"farshore/dataplane/journal"
	"farshore/dataplane/retention"
	"farshore/dataplane/vault"
	"farshore/fault"
)

// Settings is how a collector works. The zero value of a field means its default.
type Settings struct {
	EveryMinutes int `json:"everyMinutes,omitempty" yaml:"everyMinutes,omitempty"` // between two passes; default 60
	GraceMinutes int `json:"graceMinutes,omitempty" yaml:"graceMinutes,omitempty"` // from publishing a cut to carrying it out; default 1440
}

// leastGrace is more than anybody takes from choosing a point to having pinned it.
const leastGrace = 30

// WithDefaults fills in what is missing.
func (s Settings) WithDefaults() Settings {
	if s.EveryMinutes == 0 {
		s.EveryMinutes = 60
	}
	if s.GraceMinutes == 0 {
		s.GraceMinutes = 24 * 60
	}
	return s
}

// Check says why the settings cannot be used. The error is a *fault.Fault (FS-4020).
func (s Settings) Check() error {
	what := ""
	switch {
	case s.EveryMinutes < 0 || s.EveryMinutes > 1<<16:
		what = fmt.Sprintf("everyMinutes is %d", s.EveryMinutes)
	case s.GraceMinutes != 0 && s.GraceMinutes < leastGrace || s.GraceMinutes > 1<<20:
		what = fmt.Sprintf("graceMinutes is %d, at least %d", s.GraceMinutes, leastGrace)
	}
	if what == "" {
		return nil
	}
	return &fault.Fault{Code: "FS-4020", Kind: fault.Operator, Subject: "collector configuration", What: what, Remedy: "correct it, or leave it out for its default"}
}

// Deps is what a collector works with.
type Deps struct {
	Journal  journal.Deps // its Store, its Signer: the collector's own identity
	Replicas vault.Replicas
	Grace    time.Duration
	Every    time.Duration
	Log      *slog.Logger
	Changed  func() // called after each pass; may be nil
}

// Collector removes what retention lets go. Make it with [New].
type Collector struct {
	deps  Deps
	seals map[string]bool // names of segments that are known to be seals

	mu      sync.Mutex
	reports map[farshore.MachineID]Report
	faults  map[farshore.MachineID]*fault.Fault
}

// New makes a collector; it does nothing before [Collector.Run] or [Collector.Machine].
func New(d Deps) *Collector {
	return &Collector{
		deps: d, seals: map[string]bool{}, reports: map[farshore.MachineID]Report{}, faults: map[farshore.MachineID]*fault.Fault{},
	}
}

// Report is what a machine has, and what the last pass did about it.
type Report struct {
	Machine  farshore.MachineID
	Time     time.Time // of the pass, by the storage's clock
	Policy   string    // empty: nobody has said what shall stay, so everything does
	Points   int       // that stay, or can be restored if there is no policy
	Bases    int
	Pins     int
	Oldest   time.Time // of the points that stay
	Segments int       // in the journal, seals among them
	Bytes    int64     // of them

	Removed      int   // segments
	RemovedBytes int64 // of them
	RemovedBases int
	Immutable    int // objects that a policy of the storage keeps for now
	Published    int // cuts
	Indexed      int // headers that this pass put into an index
}

// reader reads as the collector, which has no key and needs none.
func (c *Collector) reader() journal.Reader {
	return journal.Reader{
		Store: c.deps.Journal.Store, Vault: c.deps.Journal.Vault, Roots: c.deps.Journal.Roots, Report: c.deps.Journal.Report,
		Damage: func(err error) { c.deps.Log.Error("part of a stream cannot be read; it stays", "err", err) },
	}
}

// Run goes over all machines again and again until ctx is done.
func (c *Collector) Run(ctx context.Context) error {
	for {
		c.Pass(ctx)
		if c.deps.Changed != nil {
			c.deps.Changed()
		}
		if host.Pause(ctx, c.deps.Every) != nil {
			return nil
		}
	}
}

// Pass goes over all machines once. What goes wrong with one keeps the others from nothing.
func (c *Collector) Pass(ctx context.Context) {
	machines, err := c.reader().Machines(ctx)
	if err != nil && ctx.Err() == nil {
		c.deps.Log.Error("the machines cannot be listed", "err", err)
	}
	for _, m := range machines {
		if ctx.Err() != nil {
			return
		}
		report, err := c.Machine(ctx, m)
		if f, ok := fault.As(err); ok && f.Code == "FS-3512" { // only a spec
			continue
		}
		c.note(m, report, err)
	}
}

func (c *Collector) note(m farshore.MachineID, r Report, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.faults, m)
	if err != nil {
		f, ok := fault.As(err)
		if !ok {
			f = &fault.Fault{
				Code: "FS-4021", Kind: fault.Transient, Subject: "machine " + string(m), What: "the collector could not finish",
				Remedy: "none if it passes; else look at the cause", Err: err,
			}
		}
		c.faults[m] = f
		c.deps.Log.Error("collection broken off", "machine", m, "code", f.Code, "err", err)
		return
	}
	c.reports[m] = r
	c.deps.Log.Info("collected", "machine", m, "points", r.Points, "bytes", r.Bytes, "removed", r.Removed, "removedBytes", r.RemovedBytes, "immutable", r.Immutable)
}

// Observed gives the newest report of each machine, and the faults of the last pass, in order of machines.
func (c *Collector) Observed() ([]Report, []*fault.Fault) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var reports []Report
	for _, r := range c.reports {
		reports = append(reports, r)
	}
	slices.SortFunc(reports, func(a, b Report) int { return compare(a.Machine, b.Machine) })
	var faults []*fault.Fault
	for _, f := range c.faults {
		faults = append(faults, f)
	}
	slices.SortFunc(faults, func(a, b *fault.Fault) int { return compare(a.Subject, b.Subject) })
	return reports, faults
}

func compare[S ~string](a, b S) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// Machine does one pass over a machine: what is due is carried out, then what may go by now is published.
func (c *Collector) Machine(ctx context.Context, m farshore.MachineID) (Report, error) {
	now, err := c.deps.Journal.Store.Now(ctx)
	if err != nil {
		return Report{}, err
	}
	report := Report{Machine: m, Time: now}
	if err := c.finishGone(ctx, m, &report); err != nil {
		return report, err
	}
	generations, err := c.reader().Generations(ctx, m)
	if err != nil {
		return report, err
	}
	for _, g := range generations {
		if err := c.carryOutDue(ctx, m, g, &report); err != nil {
			return report, err
		}
		if err := c.index(ctx, m, g, &report); err != nil {
			return report, err
		}
	}
	return report, c.publish(ctx, m, &report)
}

// publish chooses what stays and publishes the cuts that let more go than those before.
func (c *Collector) publish(ctx context.Context, m farshore.MachineID, report *Report) error {
	r := c.reader()
	history, err := r.History(ctx, m)
	if err != nil {
		return err
	}
	policy, err := r.Retention(ctx, m)
	if err != nil {
		return err
	}
	pins, err := r.Pins(ctx, m)
	if err != nil {
		return err
	}
	report.Pins = len(pins)
	if history.Runs, err = c.soundRuns(ctx, m, history.Runs); err != nil {
		return err
	}
	if policy == nil {
		report.Points = len(history.Points)
		return c.count(ctx, m, report)
	}
	report.Policy = policy.String()
	plan := retention.Choose(history.Stream(pins), policy)
	report.Points = len(plan.Keep)
	bases := map[farshore.Position]bool{}
	for _, k := range plan.Keep {
		bases[k.Base] = true
		for _, p := range history.Points {
			if p.Position == k.Position && (report.Oldest.IsZero() || p.Time.Before(report.Oldest)) {
				report.Oldest = p.Time
			}
		}
	}
	report.Bases = len(bases)
	for _, cut := range plan.Cuts {
		if err := c.publishCut(ctx, m, history, cut, report); err != nil {
			return err
		}
	}
	return c.count(ctx, m, report)
}

func (c *Collector) publishCut(ctx context.Context, m farshore.MachineID, h journal.History, cut retention.Cut, report *Report) error {
	var before *journal.PublishedCut
	for _, old := range h.Cuts {
		if old.Generation != cut.Generation {
			continue
		}
		if before = &old; old.Horizon == cut.Horizon && old.Whole == cut.Whole && slices.Equal(old.Bases, cut.Bases) && slices.Equal(old.Spans, cut.Spans) {
			return nil
		}
	}
	if _, err := journal.Publish(ctx, c.deps.Journal, m, before, cut); err != nil {
		return err
	}
	report.Published++
	c.deps.Log.Info("cut published", "machine", m, "generation", cut.Generation, "position", cut.Horizon.String(), "bases", len(cut.Bases), "whole", cut.Whole)
	return nil
}

// soundRuns leaves out runs whose base is not there whole: nothing may come to depend on it.
func (c *Collector) soundRuns(ctx context.Context, m farshore.MachineID, runs []retention.Run) ([]retention.Run, error) {
	var sound []retention.Run
	for _, run := range runs {
		ok := run.Base.Epoch == 0
		if !ok {
			err := c.sound(ctx, m, run.Base)
			if f, is := fault.As(err); err != nil && (!is || f.Kind != fault.Corrupt && f.Code != "FS-3516") {
				return nil, err
			}
			if ok = err == nil; !ok {
				c.deps.Log.Error("a base cannot be used; the journal behind it stays", "machine", m, "position", run.Base.String(), "err", err)
			}
		}
		if ok {
			sound = append(sound, run)
		}
	}
	return sound, nil
}

// sound says what is wrong with a base.
func (c *Collector) sound(ctx context.Context, m farshore.MachineID, p farshore.Position) error {
	r := c.reader()
	doc, err := r.Manifest(ctx, m, p)
	if err != nil {
		return err
	}
	for _, d := range doc.Disks {
		if _, err := r.Chunks(ctx, doc, d); err != nil {
			return err
		}
		there, err := c.snapshotThere(ctx, m, p.Generation, d)
		if err != nil {
			return err
		}
		if !there {
			return &fault.Fault{
				Code: "FS-4006", Kind: fault.Corrupt, Subject: chain.ManifestName(m, p), What: fmt.Sprintf("the snapshot %s of disk %s is gone", d.Snapshot, d.Disk),
				Remedy: "find out who removes snapshots besides Farshore",
			}
		}
	}
	return nil
}

func (c *Collector) snapshotThere(ctx context.Context, m farshore.MachineID, g farshore.Generation, d journal.ManifestDisk) (bool, error) {
	disk, err := c.deps.Replicas.Open(ctx, chain.ReplicaName(m, g, d.Disk))
	if errors.Is(err, vault.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	snapshots, err := disk.Snapshots(ctx)
	if err := errors.Join(err, disk.Close()); err != nil {
		return false, err
	}
	return slices.ContainsFunc(snapshots, func(s vault.Snapshot) bool { return s.ID == d.Snapshot }), nil
}

// count sums up what is in the journal.
func (c *Collector) count(ctx context.Context, m farshore.MachineID, report *Report) error {
	for e, err := range c.deps.Journal.Store.List(ctx, chain.JournalRoot+string(m)+"/", "") {
		if err != nil {
			return err
		}
		report.Segments++
		report.Bytes += e.Size
	}
	return nil
}
