package mastertarget

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"sync"
	"time"

	"farshore"
	"farshore/dataplane/disk"
	"farshore/dataplane/document"
	"farshore/dataplane/host"
	"farshore/dataplane/sink"
	"farshore/fault"
)

// Target writes the disks of machines that come home. Make it with [New].
type Target struct {
	deps    Deps
	windows chan struct{}

	mu       sync.Mutex
	machines map[farshore.MachineID]*MachineObserved
	faults   []*fault.Fault        // of the target itself
	known    map[string]disk.About // devices that were looked at
}

// New makes a master target; it does nothing before [Target.Run].
func New(d Deps) *Target {
	return &Target{
		deps: d, windows: make(chan struct{}, max(1, d.Settings.Machines)), machines: map[farshore.MachineID]*MachineObserved{}, known: map[string]disk.About{},
	}
}

// task is one machine being brought home.
type task struct {
	wanted Machine
	cancel context.CancelFunc
	done   chan struct{}
}

func (t *task) stop() {
	t.cancel()
	<-t.done
}

// Run does what is desired until ctx is done: each document replaces the one before. It returns when everything it started
// has ended. Two on one state folder cannot run: FS-4115.
func (t *Target) Run(ctx context.Context, desired <-chan Desired) (err error) {
	lock, err := t.lock()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	ctx, cancel := context.WithCancel(ctx)
	tasks := map[farshore.MachineID]*task{}
	defer func() {
		cancel()
		for _, k := range tasks {
			k.stop()
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return nil
		case d := <-desired:
			f := t.act(ctx, tasks, d)
			t.mu.Lock()
			t.faults = f
			t.mu.Unlock()
			t.changed()
		}
	}
}

// letGo is how long a former process, or a child of it, may still hold the state folder.
const (
	letGo     = 2 * time.Second
	letGoLook = 20 * time.Millisecond
)

func (t *Target) lock() (*os.File, error) {
	for _, dir := range []string{t.sinksDir(), filepath.Dir(t.asideDir("any"))} {
		if err := host.MakePrivate(dir); err != nil {
			return nil, badFolder(dir, err)
		}
	}
	f, err := os.OpenFile(filepath.Join(t.deps.Dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, badFolder(t.deps.Dir, err)
	}
	for limit := time.Now().Add(letGo); ; time.Sleep(letGoLook) {
		err := host.Lock(f)
		if err == nil {
			return f, nil
		}
		if time.Now().After(limit) {
			return nil, errors.Join(badFolder(t.deps.Dir, err), f.Close())
		}
	}
}

func badFolder(dir string, err error) error {
	return &fault.Fault{
		Code: "FS-4115", Kind: fault.Operator, Subject: "state folder " + dir, What: "it cannot be used, or another master target uses it",
		Remedy: "run one master target on a state folder, and see that the folder can be written", Err: err,
	}
}

func (t *Target) sinksDir() string { return filepath.Join(t.deps.Dir, "sinks") }
func (t *Target) asideDir(m farshore.MachineID) string {
	return filepath.Join(t.deps.Dir, "aside", string(m))
}

func (t *Target) machineDir(m farshore.MachineID) string {
	return filepath.Join(t.sinksDir(), string(m))
}

// act starts and stops so that exactly what is desired is worked on, and closes what is desired no longer. It gives the
// faults of what could not be closed; the next document, or the next start, tries again.
func (t *Target) act(ctx context.Context, tasks map[farshore.MachineID]*task, d Desired) (faults []*fault.Fault) {
	floor, err := t.floor()
	if err != nil {
		return []*fault.Fault{faultOf("master target", err)}
	}
	if d.Version.before(floor) {
		t.deps.Log.Warn("an old document is not acted upon", "version", d.Version, "floor", floor)
		return nil
	}
	wanted := map[farshore.MachineID]Machine{}
	for _, m := range d.Machines {
		wanted[m.Machine] = m
	}
	for id, k := range tasks {
		if m, ok := wanted[id]; !ok || !reflect.DeepEqual(m, k.wanted) {
			k.stop()
			delete(tasks, id)
		}
	}
	if err := t.closeOthers(wanted, d.Version); err != nil {
		faults = append(faults, faultOf("master target", err))
	}
	for id, m := range wanted {
		if tasks[id] == nil {
			tasks[id] = t.start(ctx, m)
		}
	}
	t.lookAgain()
	return faults
}

func (t *Target) start(ctx context.Context, m Machine) *task {
	t.observe(m.Machine, func(o *MachineObserved) {
		if o.Run != m.Run {
			*o = MachineObserved{Machine: m.Machine, Run: m.Run}
		}
		o.Finish = m.Finish
		o.Sinks, o.Open, o.Fault, o.Finished, o.Proof = m.Sinks, false, nil, farshore.Position{}, Proof{}
	})
	ctx, cancel := context.WithCancel(ctx)
	k := &task{wanted: m, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(k.done)
		t.bring(ctx, m)
	}()
	return k
}

// closeOthers gives back the disks of machines that are not wanted; nothing writes them any more. What is known of them is
// put aside: the run that gave them may give them again.
func (t *Target) closeOthers(wanted map[farshore.MachineID]Machine, v Version) error {
	entries, err := os.ReadDir(t.sinksDir())
	if err != nil {
		return err
	}
	var gone []farshore.MachineID
	for _, e := range entries {
		if m := farshore.MachineID(e.Name()); wanted[m].Machine == "" {
			gone = append(gone, m)
		}
	}
	if len(gone) > 0 {
		if err := t.raise(v); err != nil { // first: nobody acts on a document that knows them
			return err
		}
	}
	for _, m := range gone {
		if err := errors.Join(os.RemoveAll(t.asideDir(m)), host.Replace(t.machineDir(m), t.asideDir(m))); err != nil {
			return err
		}
		t.deps.Log.Info("disks were given back", "machine", m)
	}
	for _, o := range t.dismiss(wanted) {
		if t.deps.GaveBack != nil {
			t.deps.GaveBack(o)
		}
	}
	return nil
}

// dismiss drops what is known of machines that are not wanted, and gives what it was.
func (t *Target) dismiss(wanted map[farshore.MachineID]Machine) (last []MachineObserved) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for m, o := range t.machines {
		if wanted[m].Machine == "" {
			last = append(last, *o)
			delete(t.machines, m)
		}
	}
	return last
}

// runDocument says which run gave a machine's disks.
type runDocument struct {
	Version int            `json:"version"`
	Run     farshore.RunID `json:"run"`
}

// ready makes the folder of a machine's sinks: as it was when the same run's disks were given back, or anew.
func (t *Target) ready(m Machine) error {
	dir, aside := t.machineDir(m.Machine), t.asideDir(m.Machine)
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	var before runDocument
	body, err := os.ReadFile(filepath.Join(aside, "run.json"))
	if err == nil {
		err = document.Decode(body, &before)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if before.Run != m.Run {
		if err := os.RemoveAll(aside); err != nil {
			return err
		}
		if err := os.MkdirAll(aside, 0o700); err != nil {
			return err
		}
		if err := save(filepath.Join(aside, "run.json"), runDocument{Version: 1, Run: m.Run}); err != nil {
			return err
		}
	} else if m.Touched {
		if err := sink.Doubt(aside); err != nil {
			return err
		}
	}
	return host.Replace(aside, dir)
}

// floorDocument is the oldest version of a desired document that may still be acted upon.
type floorDocument struct {
	Version int     `json:"version"`
	Floor   Version `json:"floor"`
}

func (t *Target) floorPath() string { return filepath.Join(t.deps.Dir, "floor.json") }

func (t *Target) floor() (Version, error) {
	body, err := os.ReadFile(t.floorPath())
	if errors.Is(err, fs.ErrNotExist) {
		return Version{}, nil
	}
	var f floorDocument
	if err == nil {
		err = document.Decode(body, &f)
	}
	return f.Floor, err
}

func (t *Target) raise(v Version) error {
	return save(t.floorPath(), floorDocument{Version: 1, Floor: v})
}

// save stores a document. It is on stable storage when save returns nil.
func save(path string, members any) error {
	body, err := document.Encode(members)
	if err != nil {
		return err
	}
	return host.Write(path, body)
}

func (t *Target) changed() {
	if t.deps.Changed != nil { // a test may not care
		t.deps.Changed()
	}
}

func (t *Target) poll() time.Duration {
	if t.deps.Poll > 0 {
		return t.deps.Poll
	}
	return time.Duration(t.deps.Settings.PollSeconds) * time.Second
}

// faultOf makes a fault of whatever stopped us.
func faultOf(subject string, err error) *fault.Fault {
	if f, ok := fault.As(err); ok {
		return f
	}
	return &fault.Fault{
		Code: "FS-4116", Kind: fault.Transient, Subject: subject, What: "the master target could not go on", Remedy: "none if it passes; else look at the cause", Err: err,
	}
}
