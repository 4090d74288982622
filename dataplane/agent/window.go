package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"farshore"
	"farshore/dataplane/block"
	"farshore/dataplane/disk"
	"farshore/dataplane/host"
	"farshore/dataplane/segment"
	"farshore/dataplane/session"
	"farshore/dataplane/tracker"
	"farshore/fault"
)

// How often what is tried for one point.
const (
	maxRounds  = 4       // rounds under load, to make the window small
	smallRound = 8 << 20 // bytes: small enough for a window
	openTries  = 2       // windows without a freeze
	heldTries  = 3       // windows in a freeze
)

// ask is a point that somebody or the policy asks for, beside those that come by themselves.
type ask struct {
	number      uint64
	marker      bool
	consistency farshore.Consistency
	label       string
	hold        time.Duration // the file systems stay frozen behind it; 0: they do not
}

// asked gives the point that is asked for now.
func (s *sending) asked(wish Desired, now time.Time) ask {
	if c := wish.Cut; c.Number != 0 && c.Number != s.agent.state.CutNumber && !s.under(c.Number) {
		a := ask{number: c.Number, marker: true, consistency: c.Consistency, label: c.Label, hold: c.Hold}
		if a.hold > 0 { // hooks could not end in it
			a.consistency = farshore.CrashConsistent
		}
		return a
	}
	if wish.AppEvery > 0 && now.Sub(s.lastApp) >= wish.AppEvery {
		if hooks, err := s.agent.deps.Hooks.Any(); hooks || err != nil || s.agent.deps.Snapshots != nil {
			return ask{marker: true, consistency: farshore.AppConsistent}
		}
	}
	return ask{}
}

// under reports whether the cut for a request is on its way.
func (s *sending) under(number uint64) bool {
	for _, c := range s.cuts {
		if c.ask.number == number {
			return true
		}
	}
	return false
}

// urgent reports whether somebody waits for a point that was not tried yet.
func (s *sending) urgent(wish Desired, now time.Time) bool {
	asked := s.asked(wish, now)
	return asked.number != 0 && asked.number != s.tried
}

// cycle takes what has changed and makes a point of it, if there is anything to make one of.
func (s *sending) cycle(ctx context.Context) error {
	now := s.agent.deps.Now()
	wish, _ := s.agent.wish()
	asked := s.asked(wish, now)
	s.lastTry = now
	if s.agent.deps.Snapshots != nil {
		return s.imaged(ctx, asked)
	}
	if err := s.exchange(ctx); err != nil {
		return err
	}
	if s.todoBytes() == 0 && !s.owesCut && !asked.marker || !s.complete() {
		return nil
	}
	s.tried = max(s.tried, asked.number)
	for range maxRounds {
		if s.todoBytes() <= smallRound {
			break
		}
		if err := s.sendTodo(ctx); err != nil {
			return err
		}
		if err := s.exchange(ctx); err != nil {
			return err
		}
	}
	c := cut{ask: asked}
	if asked.consistency == farshore.AppConsistent {
		s.lastApp = now
		return s.quiesced(ctx, &c)
	}
	return s.point(ctx, &c, asked.marker)
}

// quiesced makes an application-consistent point. When a hook does not succeed the point is made nevertheless, and says
// what it is and why.
func (s *sending) quiesced(ctx context.Context, c *cut) error {
	hooks := s.agent.deps.Hooks
	some, err := hooks.Any()
	if err == nil && !some {
		err = &fault.Fault{
			Code: "FS-1003", Kind: fault.Operator, Subject: "hook folder " + hooks.Dir + "/quiesce.d", What: "there is no hook that quiesces applications",
			Remedy: "add one for each application; see docs/operate/agent.md",
		}
	}
	if err == nil {
		err = hooks.Quiesce(ctx)
	}
	if err != nil {
		c.ask.consistency, c.note = farshore.CrashConsistent, "asked to be application-consistent: "+err.Error()
	}
	perr := s.point(ctx, c, true)
	rerr := hooks.Resume(context.WithoutCancel(ctx))
	f, _ := fault.As(errors.Join(err, rerr))
	if s.agent.blame(atHooks, f) {
		s.agent.deps.Log.Warn("hooks did not succeed", "err", f)
	}
	return perr
}

// point tries windows until one is good. Asked-for points are made in a freeze, so that what applications have written is
// on the disk; others are made without one if the machine happens to write nothing.
func (s *sending) point(ctx context.Context, c *cut, freeze bool) error {
	if s.ordered {
		return s.orderedPoint(ctx, c)
	}
	why := ""
	for try := 0; !freeze && try < openTries; try++ {
		done, reason, err := s.window(ctx, nil, c)
		if done || err != nil {
			return err
		}
		why = reason
	}
	systems, err := disk.FileSystems(s.devices()...)
	if err != nil {
		return err
	}
	if s.scans && c.ask.hold == 0 && s.scanTook > s.agent.deps.FreezeBound/2 {
		systems = nil // reading the disks takes longer than they may be held
	}
	for range heldTries {
		if err := s.settle(ctx, systems); err != nil {
			return err
		}
		done, reason, err := s.window(ctx, systems, c)
		if done || err != nil {
			return err
		}
		why = reason
	}
	s.agent.blame(atPoint, &fault.Fault{
		Code: "FS-1007", Kind: fault.Transient, Subject: "machine " + string(s.agent.deps.Machine), What: "no consistent point could be made: " + why,
		Remedy: "the agent goes on trying; a disk that is written without a file system (swap, a raw database) needs a hook that holds the writer, see docs/operate/agent.md",
	})
	return nil
}

// settle writes out what is dirty and sends it, so that the freeze is short.
func (s *sending) settle(ctx context.Context, systems []disk.FileSystem) error {
	if err := disk.Flush(systems); err != nil {
		return err
	}
	if err := s.exchange(ctx); err != nil {
		return err
	}
	return s.sendTodo(ctx)
}

func (p *protection) devices() []*disk.Device {
	var all []*disk.Device
	for _, s := range p.sources {
		all = append(all, s.device)
	}
	return all
}

// exchange takes the changes of all disks. Their blocks may be read from here on.
func (s *sending) exchange(ctx context.Context) error {
	begun := s.agent.deps.Now()
	for _, from := range s.sources {
		gap, err := from.track.Check(false)
		if err == nil && gap != "" {
			err = s.missed(from, gap)
		}
		if err == nil {
			err = errors.Join(from.track.Exchange(ctx, from), from.track.Outstanding(false, from))
		}
		if err != nil {
			return err
		}
	}
	s.scanTook = s.agent.deps.Now().Sub(begun)
	return nil
}

// missed answers a gap within the session, and ends it.
func (s *sending) missed(from *source, gap string) error {
	if err := s.gap(from, gap); err != nil {
		return err
	}
	return errAfresh
}

func (p *protection) todoBytes() int64 {
	n := int64(0)
	for _, s := range p.sources {
		n += s.todo.bytes(0)
	}
	return n
}

// complete reports whether every disk that must be clean in a point can be: nothing of its base is owed.
func (p *protection) complete() bool {
	for _, d := range p.disks(true) {
		if !d.Clean && !d.Joining {
			return false
		}
	}
	return true
}

// taken is what a window has read.
type taken struct {
	before  []disk.Stat
	boot    time.Duration
	wall    time.Time
	records []segment.Record
	read    int64
	quiet   bool
	gap     *source
	why     string
}

// window takes and reads the changes, proves that nothing was written meanwhile, and sends them with a clean cut behind.
// With file systems it is made in a freeze. done is false, with the reason, if it should be tried again: there was no proof.
// What was read is sent all the same, for it is what was to be sent.
func (s *sending) window(ctx context.Context, systems []disk.FileSystem, c *cut) (done bool, why string, err error) {
	if err := s.freeze(ctx, systems, c); err != nil {
		return false, err.Error(), nil
	}
	var t taken
	err = s.take(ctx, &t)
	err = errors.Join(err, s.thaw(ctx, c, &t, err == nil && t.gap == nil && t.quiet))
	if err != nil {
		return false, "", err
	}
	if t.gap != nil {
		if err := s.missed(t.gap, t.why); err != nil {
			return false, "", err
		}
	}
	if err := s.sendTaken(ctx, &t); err != nil {
		return false, "", err
	}
	if !s.complete() { // a gap was found: there is nothing to be had before the copy is done
		return true, "", nil
	}
	if !t.quiet {
		return false, t.why, nil
	}
	return true, "", s.sendCut(ctx, &t, c)
}

// take is what happens while file systems may be frozen: it neither logs nor writes nor sends.
func (s *sending) take(ctx context.Context, t *taken) (err error) {
	if t.boot, err = host.BootClock(); err != nil {
		return err
	}
	t.wall = s.agent.deps.Now()
	if err := s.sample(t); err != nil {
		return err
	}
	for _, from := range s.sources {
		if err := errors.Join(from.track.Exchange(ctx, from), from.track.Outstanding(false, from)); err != nil {
			return err
		}
	}
	if n := s.todoBytes(); n > s.agent.deps.WindowBytes {
		t.why = fmt.Sprintf("%d bytes changed too fast to be read at one instant (at most %d)", n, s.agent.deps.WindowBytes)
		return nil
	}
	for _, from := range s.sources {
		if err := t.readTodo(from); err != nil {
			return err
		}
	}
	return s.prove(t)
}

// readTodo reads the changes of a disk into memory.
func (t *taken) readTodo(from *source) error {
	for at := block.Sector(0); ; {
		run, ok := from.todo.next(at)
		if !ok {
			return nil
		}
		from.todo.remove(run)
		read, err := from.read(run, disk.Buffer((int(run.Count.Bytes())+grain-1)&^(grain-1)))
		if err != nil {
			return err
		}
		t.records = split(t.records, from.index, run, read, true)
		t.read += int64(len(read))
		at = run.End()
	}
}

// prove shows that no write reached any disk since the first samples, and that none was missed before.
func (s *sending) prove(t *taken) error {
	for i, from := range s.sources {
		after, err := from.device.Stat()
		if err != nil {
			return err
		}
		if after.InFlight != 0 || !after.SameWrites(t.before[i]) {
			t.why = fmt.Sprintf("disk %s was written to during each try", from.id)
			return nil
		}
		if t.why = unprovable(from, t.wall, after); t.why != "" {
			return nil
		}
	}
	t.quiet = true
	for _, from := range s.sources {
		gap, err := from.track.Check(true)
		if errors.Is(err, tracker.ErrUnsettled) { // it is written to again: what was read is good, but nothing proves it
			t.quiet, t.why = false, fmt.Sprintf("disk %s was written to before the kernel's counts could be compared", from.id)
			return nil
		}
		if err != nil {
			return err
		}
		if gap != "" {
			t.gap, t.why = from, gap
			return nil
		}
		// What was in the tracker's table when it was read has ended: it need not be given out again.
		if err := from.track.Outstanding(true, &tracker.Marks{}); err != nil {
			return err
		}
	}
	return nil
}

// fileGrain is how old the last change of an image file must be for its time to prove that no other followed: the kernel
// stamps files with a clock of up to 10 ms.
const fileGrain = 50 * time.Millisecond

// unprovable says why equal samples prove nothing, or gives "". The time of an image file proves as much when the clock was
// set back behind it: another write would have brought it there too.
func unprovable(from *source, began time.Time, s disk.Stat) string {
	switch {
	case from.device.Node() && !from.device.Accounted():
		return fmt.Sprintf("queue/iostats of disk %s is 0, so nothing tells a quiet moment", from.id)
	case !from.device.Node() && began.Sub(time.Unix(0, s.FileChanged)).Abs() <= fileGrain:
		return fmt.Sprintf("disk %s changed too recently to tell a quiet moment", from.id)
	}
	return ""
}

// sendTaken sends what a window has read.
func (s *sending) sendTaken(ctx context.Context, t *taken) error {
	s.agent.note(func(o *Observed) { o.Read += t.read })
	for rest := t.records; len(rest) > 0; {
		n, bytes := 0, 0
		for n < len(rest) && n < session.MaxBatchRecords && bytes+len(rest[n].Data) <= session.MaxBatchBytes {
			bytes += len(rest[n].Data)
			n++
		}
		if err := s.send(ctx, rest[:n]); err != nil {
			return err
		}
		rest = rest[n:]
	}
	return nil
}

// sendCut sends the clean end behind everything that was sent.
func (s *sending) sendCut(ctx context.Context, t *taken, c *cut) (err error) {
	if s.jump { // the stream's end is unclean and nothing differs: an empty re-copy
		if err := s.send(ctx, nil); err != nil {
			return err
		}
	}
	m := &session.Cut{
		Marker: c.ask.marker, Consistency: c.ask.consistency, Label: clip(c.ask.label, c.note), Boot: t.boot, Wall: t.wall, Disks: s.disks(true),
	}
	if !s.ordered || c.heals { // everything that was found to differ stands in front of it
		c.mends = s.agent.differing()
	}
	if c.message, err = s.link.Cut(ctx, m); err != nil {
		return err
	}
	s.last, s.owesCut = c.message, false
	for i, from := range s.sources {
		if m.Disks[i].Clean {
			c.clean = append(c.clean, from)
			from.shutInterval(c.message)
		}
	}
	s.cuts = append(s.cuts, *c)
	s.agent.blame(atPoint, nil)
	return nil
}

// clip joins the words of whoever asked with why the point is less, to what a label can hold.
func clip(label, note string) string {
	if label != "" && note != "" {
		label += "; "
	}
	label += note
	for i := range label {
		if i > segment.MaxLabelBytes-4 { // the place before this letter
			return label[:min(i, segment.MaxLabelBytes)]
		}
	}
	return label
}
