package mastertarget

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"farshore"
	"farshore/dataplane/applier"
	"farshore/dataplane/chain"
	"farshore/dataplane/document"
	"farshore/dataplane/host"
	"farshore/dataplane/journal"
	"farshore/dataplane/segment"
	"farshore/dataplane/sink"
	"farshore/dataplane/vault"
	"farshore/fault"
)

// The pauses after a fault. What is corrupt costs a reading of all disks to find again, and somebody must act first.
const (
	pauseOther   = 5 * time.Second
	pauseCorrupt = 5 * time.Minute
)

// bring writes a machine's disks until ctx is done.
func (t *Target) bring(ctx context.Context, m Machine) {
	for {
		err := t.once(ctx, m)
		if ctx.Err() != nil {
			return
		}
		f := faultOf("machine "+string(m.Machine), err)
		t.observe(m.Machine, func(o *MachineObserved) { o.Fault, o.CaughtUp = f, false })
		t.deps.Log.Error("disks stand still", "machine", m.Machine, "run", m.Run, "code", f.Code, "err", err)
		t.changed()
		pause := pauseOther
		if f.Kind == fault.Corrupt {
			pause = pauseCorrupt
		}
		if host.Pause(ctx, pause) != nil {
			return
		}
	}
}

// once takes the sinks and brings them forward until something goes wrong. What it did is stored; the next call goes on.
func (t *Target) once(ctx context.Context, m Machine) (err error) {
	if err := t.ready(m); err != nil {
		return err
	}
	sinks, err := t.consent(ctx, m)
	if err != nil {
		return err
	}
	set, err := sink.Open(ctx, sink.Offer{Devices: t.deps.Settings.Devices, Folders: t.deps.Settings.Folders}, t.machineDir(m.Machine), m.Machine, sinks)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, set.Close()) }()
	t.observe(m.Machine, func(o *MachineObserved) { o.Open, o.Fault = true, nil })
	t.changed()
	for {
		w := way{Target: t, machine: m, set: set}
		if err := w.begin(ctx); err != nil {
			return err
		}
		err := w.along(ctx)
		if err := errors.Join(err, w.disks.Close()); err != nil && !errors.Is(err, errAnew) {
			return err
		}
	}
}

// consent gives the sinks that may be opened.
func (t *Target) consent(ctx context.Context, m Machine) ([]sink.Sink, error) {
	if t.deps.Consent == nil {
		return m.Sinks, nil
	}
	return t.deps.Consent(ctx, m, func(f *fault.Fault) {
		t.observe(m.Machine, func(o *MachineObserved) { o.Fault = f })
		t.changed()
	})
}

// errAnew says that the disks do not go on from where they stand: a newer generation goes on, or retention has removed what
// comes next.
var errAnew = errors.New("the stream goes on elsewhere")

// way is one machine's sinks on their way along one generation.
type way struct {
	*Target
	machine Machine
	set     *sink.Set
	stream  chain.Stream
	horizon farshore.Position // the journal is there behind it
	base    *journal.Manifest // where disks begin that hold nothing yet; nil: at the start
	disks   *applier.Disks
}

func (w *way) prefix() string { return chain.ReplicaPrefix(w.stream.Machine, w.stream.Generation) }

// begin opens the disks where they stand. Those that cannot be brought forward from there are begun anew.
func (w *way) begin(ctx context.Context) error {
	g, err := w.generation(ctx)
	if err != nil {
		return err
	}
	w.stream = chain.Stream{Vault: w.deps.Journal.Vault, Machine: w.machine.Machine, Generation: g}
	if err := errors.Join(w.voidProof(), w.chooseBase(ctx)); err != nil {
		return err
	}
	if err := w.open(ctx); err != nil {
		return err
	}
	usable, err := w.usable(ctx)
	if err == nil && !usable {
		w.deps.Log.Info("disks are begun anew", "machine", w.machine.Machine, "at", w.disks.At().Position, "finish", w.machine.Finish)
		if err = w.disks.Close(); err == nil {
			err = w.forget(ctx)
		}
		if err == nil {
			err = w.open(ctx)
		}
		return err
	}
	if err != nil {
		return errors.Join(err, w.disks.Close())
	}
	w.show(nil)
	return nil
}

func (w *way) open(ctx context.Context) (err error) {
	b := applier.Beginning{Stream: w.stream, Disks: w.set.Disks(), At: chain.Start(w.stream)}
	if w.base != nil {
		b.At, b.Fill = w.base.At, w.lay
	}
	settings := applier.Settings{Lanes: w.deps.Settings.Lanes}
	w.disks, err = applier.OpenDisks(ctx, applier.Deps{
		Journal: w.deps.Journal, Store: w.deps.Store, Replicas: w.set, Settings: settings, Now: w.deps.Now, Log: w.deps.Log,
	}, b)
	return err
}

// usable reports whether the disks can be brought to where they shall be from where they stand.
func (w *way) usable(ctx context.Context) (bool, error) {
	at := w.disks.At().Position
	if at.Compare(w.horizon) < 0 && at.Compare(w.base.At.Position) < 0 { // retention has removed what comes next
		return false, nil
	}
	p := w.machine.Finish
	if p.IsZero() || w.disks.Reach(p) {
		return true, nil
	}
	if at.Compare(p) < 0 || !w.disks.Stand(at) { // pages from behind the position are on them
		return false, nil
	}
	return w.idle(ctx, p, at)
}

// idle reports whether nothing but seals lies between two positions: whatever is not there to be read may have been anything.
func (w *way) idle(ctx context.Context, from, to farshore.Position) (bool, error) {
	for next := (farshore.Position{Generation: from.Generation, Epoch: from.Epoch, Seq: from.Seq + 1}); next.Compare(to) <= 0; {
		prefix, err := w.deps.Store.GetRange(ctx, chain.NameOf(w.stream.Machine, next), 0, segment.MaxHeaderBytes)
		if errors.Is(err, vault.ErrNotFound) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		h, err := segment.ParseHeader(prefix)
		if err != nil || !h.Seal || h.Position() != next {
			return false, err
		}
		if next == to {
			return true, nil
		}
		next = farshore.Position{Generation: next.Generation, Epoch: next.Epoch + 1, Seq: 1}
	}
	return false, nil
}

func (w *way) forget(ctx context.Context) error {
	for id := range w.set.Disks() {
		if err := w.set.Remove(ctx, w.prefix()+string(id)+".vhd"); err != nil {
			return err
		}
	}
	return nil
}

// generation is that of the position to finish at, else the newest. It waits for a machine's first claim.
func (w *way) generation(ctx context.Context) (farshore.Generation, error) {
	if !w.machine.Finish.IsZero() {
		return w.machine.Finish.Generation, nil
	}
	for {
		g, err := w.newest(ctx)
		if f, ok := fault.As(err); !ok || f.Code != "FS-3512" {
			return g, err
		}
		if err := host.Pause(ctx, w.poll()); err != nil {
			return 0, err
		}
	}
}

func (w *way) newest(ctx context.Context) (farshore.Generation, error) {
	all, err := w.deps.Journal.Generations(ctx, w.machine.Machine)
	if err != nil {
		return 0, err
	}
	return all[len(all)-1], nil
}

// along applies the stream until it is finished, or goes on elsewhere.
func (w *way) along(ctx context.Context) error {
	for {
		headers, err := w.step(ctx)
		if err != nil {
			return err
		}
		w.show(headers)
		if len(headers) > 0 {
			continue
		}
		if done, err := w.finish(ctx); done || err != nil {
			return err
		}
		if err := w.overtaken(ctx); err != nil {
			return err
		}
		if w.machine.Finish.IsZero() {
			w.observe(w.machine.Machine, func(o *MachineObserved) { o.CaughtUp = true })
			g, err := w.newest(ctx)
			if err != nil {
				return err
			}
			if g > w.stream.Generation {
				return errAnew
			}
		}
		if err := host.Pause(ctx, w.poll()); err != nil {
			return err
		}
	}
}

// overtaken gives errAnew if what looks like the end of the stream is a place that retention has emptied since the disks
// were opened.
func (w *way) overtaken(ctx context.Context) error {
	cut, err := w.deps.Journal.Cut(ctx, w.stream.Machine, w.stream.Generation)
	if err != nil || cut == nil || cut.Horizon.Compare(w.horizon) <= 0 || w.disks.At().Position.Compare(cut.Horizon) >= 0 {
		return err
	}
	return errAnew
}

// step applies one window, if there is one.
func (w *way) step(ctx context.Context) ([]segment.Header, error) {
	select {
	case w.windows <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-w.windows }()
	return w.disks.Advance(ctx, w.machine.Finish)
}

// show reports where the disks are, having passed some segments.
func (w *way) show(passed []segment.Header) {
	at, figures := w.disks.At(), w.set.Figures()
	if len(passed) == 0 {
		passed = []segment.Header{w.disks.Header()}
	}
	w.observe(w.machine.Machine, func(o *MachineObserved) {
		o.Applied, o.UTC, o.CaughtUp, o.Fault = at.Position, w.disks.Header().UTC, false, nil
		o.Written, o.Equal = figures.Written, figures.Equal
		for _, h := range passed {
			if _, ok := journal.PointOf(h); ok {
				o.Clean = h.Position()
			}
		}
	})
}

// finish completes the disks and proves them if they are where they shall be. It returns when ctx is done.
func (w *way) finish(ctx context.Context) (done bool, err error) {
	p, at := w.machine.Finish, w.disks.At().Position
	if p.IsZero() || at.Compare(p) < 0 || !w.disks.Stand(at) {
		return false, nil
	}
	proof, known, err := w.proven()
	if err != nil {
		return true, err
	}
	if !known {
		if err := w.set.Complete(ctx); err != nil {
			return true, err
		}
		if proof, err = w.prove(ctx); err != nil {
			return true, err
		}
		if err := save(w.proofPath(), proofDocument{Version: 1, Position: p.String(), Proof: proof}); err != nil {
			return true, err
		}
		w.deps.Log.Info("disks were compared", "machine", w.machine.Machine, "position", p, "bytes", proof.Compared, "different", proof.Different)
	}
	figures := w.set.Figures()
	w.observe(w.machine.Machine, func(o *MachineObserved) {
		o.Finished, o.Proof, o.Written, o.Equal = p, proof, figures.Written, figures.Equal
	})
	w.changed()
	<-ctx.Done()
	return true, ctx.Err()
}

// proofDocument is a proof that was done; it counts as long as the disks are not written.
type proofDocument struct {
	Version  int    `json:"version"`
	Position string `json:"position"`
	Proof
}

func (w *way) proofPath() string { return filepath.Join(w.machineDir(w.machine.Machine), "proof.json") }

// voidProof makes a proof of another position count no longer, before anything is written.
func (w *way) voidProof() error {
	_, known, err := w.proven()
	if err != nil || known {
		return err
	}
	return save(w.proofPath(), proofDocument{Version: 1})
}

// proven gives the proof that was done of the position, if one was.
func (w *way) proven() (Proof, bool, error) {
	body, err := os.ReadFile(w.proofPath())
	if errors.Is(err, fs.ErrNotExist) {
		return Proof{}, false, nil
	}
	var d proofDocument
	if err == nil {
		err = document.Decode(body, &d)
	}
	if err != nil {
		return Proof{}, false, fmt.Errorf("read %s: %w", w.proofPath(), err)
	}
	return d.Proof, !w.machine.Finish.IsZero() && d.Position == w.machine.Finish.String(), nil
}
