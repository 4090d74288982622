package agent

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"farshore"
	"farshore/dataplane/disk"
	"farshore/dataplane/host"
	"farshore/dataplane/tracker"
	"farshore/dataplane/tracker/choose"
	"farshore/fault"
)

// protection is a set of disks under tracking. Sessions come and go over it.
type protection struct {
	agent     *Agent
	inventory *disk.Inventory
	trackers  *choose.Set
	sources   []*source
	run       runState
	recorder  *recorder // nil: writes cannot be captured
	place     *place    // of the recorder's log in the stream; nil: it has none
	returning bool      // it had a session before
	scans     bool      // some disk is scanned
	scanTook  time.Duration
}

// protect opens the disks and their trackers and takes up what is pending.
func (a *Agent) protect(ctx context.Context, ids []farshore.DiskID) (_ *protection, err error) {
	p := &protection{agent: a}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.close())
		}
	}()
	if p.inventory, err = a.inventory(); err != nil {
		return nil, err
	}
	a.note(func(o *Observed) { o.Machine = p.inventory.Spec })
	var specs []farshore.DiskSpec
	var devices []*disk.Device
	for _, id := range ids {
		at := indexOf(p.inventory.Spec.Disks, id)
		if at < 0 {
			return nil, &fault.Fault{
				Code: "FS-1010", Kind: fault.Operator, Subject: "disk " + string(id), What: "it is to be protected and is not in this machine",
				Remedy: "attach it again, or take it out of the machine's protection; see: farshore-agent disks",
			}
		}
		if p.inventory.Spec.Disks[at].SizeBytes == 0 {
			return nil, &fault.Fault{
				Code: "FS-1010", Kind: fault.Operator, Subject: "disk " + string(id), What: "it has no medium, or was taken away",
				Remedy: "attach it again, or take it out of the machine's protection; the agent goes on trying",
			}
		}
		specs, devices = append(specs, p.inventory.Spec.Disks[at]), append(devices, p.inventory.Devices[at])
	}
	if len(specs) == 0 {
		return nil, &fault.Fault{
			Code: "FS-1010", Kind: fault.Operator, Subject: "machine " + string(a.deps.Machine), What: "no disk of it is chosen for protection",
			Remedy: "choose disks when enabling protection",
		}
	}
	if err := a.checkRunDir(devices); err != nil {
		return nil, err
	}
	cookie, err := a.state.cookie()
	if err != nil {
		return nil, err
	}
	places := choose.Places{Pins: a.deps.PinDir, Run: a.deps.RunDir, RingBytes: a.deps.RingBytes, Own: own(cookie)}
	if p.trackers, err = choose.Open(ctx, places, specs, devices); err != nil {
		return nil, err
	}
	if err := p.openSources(specs, devices); err != nil {
		return nil, err
	}
	return p, p.openRecorder(ctx, cookie)
}

// openRecorder begins to empty the ring, if there is one. Without a change log the disks are protected by bitmap.
func (p *protection) openRecorder(ctx context.Context, cookie [16]byte) error {
	ring := p.trackers.Capture()
	if ring == nil {
		return nil
	}
	r, err := p.agent.openRecorder(ring, cookie, p.ids())
	if err != nil {
		p.agent.deps.Log.Warn("there is no change log, so writes are not kept in order", "err", err)
		f, _ := fault.As(err)
		p.agent.blame(atLog, f)
		p.agent.note(func(o *Observed) { o.GradeWhy = err.Error() })
		return nil
	}
	p.agent.blame(atLog, nil)
	p.recorder = r
	r.start(ctx)
	return nil
}

func indexOf(specs []farshore.DiskSpec, id farshore.DiskID) int {
	for i, s := range specs {
		if s.ID == id {
			return i
		}
	}
	return -1
}

func (p *protection) openSources(specs []farshore.DiskSpec, devices []*disk.Device) error {
	path := filepath.Join(p.agent.deps.RunDir, runFile)
	if err := readJSON(path, &p.run); err != nil && !errors.Is(err, fs.ErrNotExist) {
		p.agent.deps.Log.Warn("what was pending cannot be read; the disks are copied again", "err", err)
		p.run = runState{}
	}
	boot, err := host.BootID()
	if err != nil {
		return err
	}
	rebooted := p.run.Boot != "" && p.run.Boot != boot
	p.run.Boot = boot
	grade := tracker.Bitmap
	for i, spec := range specs {
		s := &source{index: uint16(i), id: spec.ID, device: devices[i], track: p.trackers.Disk(spec.ID), run: p.run.Disks[spec.ID]}
		p.sources = append(p.sources, s)
		known := s.run.Era != ""
		if rebooted {
			s.run.Era = "of another boot"
		}
		why, err := openSource(p.agent.deps.RunDir, s)
		if err != nil {
			return err
		}
		why = p.because(s, why, rebooted)
		if why != "" {
			p.copies(s, why, known)
		}
		if s.track.Grade() == tracker.Scan {
			grade, p.scans = tracker.Scan, true
			p.agent.deps.Log.Info("changes of the disk are found by scanning", "disk", s.id, "why", p.trackers.Choices[i].Why)
		}
	}
	p.agent.note(func(o *Observed) { o.Grade, o.LastPoint = string(grade), p.run.LastPoint })
	p.agent.deps.Log.Info("writes are tracked", "grade", grade, "disks", len(p.sources))
	return p.save()
}

// because gives the reason for which a disk is copied, or "": what made it be opened again tells more than what was found.
func (p *protection) because(s *source, why string, rebooted bool) string {
	reason := p.agent.interrupted[s.id]
	delete(p.agent.interrupted, s.id)
	switch {
	case rebooted:
		return "the machine was started again"
	case reason == "":
		return why
	case why == "": // it is as it was before: it was away in between
		s.owe()
		s.run.Fresh = false
	}
	return reason
}

// ids gives the protected disks in their order.
func (p *protection) ids() []farshore.DiskID {
	var all []farshore.DiskID
	for _, s := range p.sources {
		all = append(all, s.id)
	}
	return all
}

// save stores what goes with the bitmaps, behind every change of them that it speaks of.
func (p *protection) save() error {
	p.run.Disks = map[farshore.DiskID]diskRun{}
	for _, s := range p.sources {
		p.run.Disks[s.id] = s.run
	}
	return writeJSON(filepath.Join(p.agent.deps.RunDir, runFile), p.run)
}

func (p *protection) close() error {
	var err error
	if p.recorder != nil {
		err = p.recorder.close()
	}
	for _, s := range p.sources {
		err = errors.Join(err, s.close())
	}
	if p.trackers != nil {
		err = errors.Join(err, p.trackers.Close())
	}
	if p.inventory != nil {
		err = errors.Join(err, p.inventory.Close())
	}
	return err
}

// forget removes everything that tracking keeps.
func forget(d Deps) error {
	err := choose.Forget(choose.Places{Pins: d.PinDir, Run: d.RunDir})
	entries, rerr := os.ReadDir(d.RunDir)
	err = errors.Join(err, rerr)
	for _, e := range entries {
		if e.Name() != "lock" {
			err = errors.Join(err, os.RemoveAll(filepath.Join(d.RunDir, e.Name())))
		}
	}
	return err
}

// gap answers missed changes: the whole disk is owed, in the same generation. The order matters to a crash in between: the
// base is full before the new era is believed.
func (p *protection) gap(s *source, why string) error {
	s.owe()
	s.run.Fresh = false
	err := s.track.Renew()
	if errors.Is(err, tracker.ErrChanged) {
		p.agent.interrupted[s.id] = why
		return errors.Join(errReopen, err) // what is opened again is copied, and says why
	}
	p.copies(s, why, true)
	if err != nil {
		return err
	}
	s.run.Era = s.track.Era()
	return p.save()
}

// serve opens sessions, one after another, with the process servers in their order.
func (p *protection) serve(ctx context.Context) error {
	pause := newPause()
	for ctx.Err() == nil {
		wish, _ := p.agent.wish()
		var err error
		for _, server := range wish.ProcessServers {
			var opened bool
			opened, err = p.session(ctx, server, wish)
			err = errors.Join(err, p.agent.remain(ctx))
			if ctx.Err() != nil || errors.Is(err, errReopen) {
				return err
			}
			if errors.Is(err, errAfresh) { // the pause goes on growing, should it come again and again
				break
			}
			p.stalled(server, err)
			if opened {
				pause.Reset()
				break
			}
		}
		if len(wish.ProcessServers) == 0 {
			p.stalled("none", &fault.Fault{
				Code: "FS-1011", Kind: fault.Operator, Subject: "machine " + string(p.agent.deps.Machine), What: "it has no process server to send to",
				Remedy: "add one; see: farshore node list",
			})
		}
		retry := time.NewTimer(pause.NextBackOff())
		await(ctx, nil, retry.C)
		retry.Stop()
	}
	return context.Cause(ctx)
}

// stalled reports that a session ended or could not be opened.
func (p *protection) stalled(server string, err error) {
	f, ok := fault.As(err)
	if !ok {
		f = &fault.Fault{
			Code: "FS-1011", Kind: fault.Transient, Subject: "process server " + server, What: "the session with it broke",
			Remedy: "nothing, if it comes back; changes are tracked meanwhile", Err: err,
		}
	}
	p.agent.note(func(o *Observed) { o.Phase, o.ProcessServer = Stalled, "" })
	if p.agent.blame(atSession, f) {
		p.agent.deps.Log.Warn("replication waits", "server", server, "err", f)
	}
}
