package applier

import (
	"context"
	"slices"
	"sync"
	"time"

	"farshore"
	"farshore/dataplane/block"
	"farshore/dataplane/vault"
	"farshore/fault"
)

// Applier keeps replicas and does jobs. Make it with [New].
type Applier struct {
	deps     Deps
	observed *observations
	windows  slots
	buffers  sync.Pool

	mu       sync.Mutex
	locks    map[farshore.MachineID]*sync.RWMutex
	rebuilds map[farshore.MachineID]uint64
	bases    map[farshore.MachineID]chan struct{} // somebody made one
	frozen   frozen
}

// New makes an applier; it does nothing before [Applier.Run].
func New(d Deps) *Applier {
	return &Applier{
		deps: d, observed: newObservations(), windows: make(slots, max(1, d.Settings.Machines)),
		buffers: sync.Pool{New: func() any { return new([vault.MaxWriteBytes]byte) }},
		locks:   map[farshore.MachineID]*sync.RWMutex{},
		bases:   map[farshore.MachineID]chan struct{}{},
		frozen:  frozen{asks: map[farshore.MachineID][]chan still{}, held: map[heldSnapshot]bool{}, idle: map[farshore.MachineID]bool{}},
	}
}

// Observed is what the applier reports now.
func (a *Applier) Observed() Observed { return a.observed.snapshot() }

// Run does what is desired until ctx is done: each document replaces the one before. It returns when everything it
// started has ended.
func (a *Applier) Run(ctx context.Context, desired <-chan Desired) error {
	ctx, cancel := context.WithCancel(ctx)
	crew := &crew{applier: a, machines: map[farshore.MachineID]*task{}, runs: map[farshore.RunID]*task{}}
	defer crew.wait()
	defer cancel()
	for {
		select {
		case <-ctx.Done():
			return nil
		case d := <-desired:
			a.wantRebuilds(d.Rebuilds)
			crew.follow(ctx, d.Machines)
			crew.work(ctx, d.Jobs)
		}
	}
}

func (a *Applier) poll() time.Duration {
	if a.deps.Poll > 0 {
		return a.deps.Poll
	}
	return time.Duration(a.deps.Settings.PollSeconds) * time.Second
}

func (a *Applier) changed() {
	if a.deps.Changed != nil { // a test may not care
		a.deps.Changed()
	}
}

func (a *Applier) writing() writing {
	return writing{
		replicas: a.deps.Replicas, header: a.deps.Journal.HeaderAt, fill: block.Count(a.deps.Settings.FillBytes / block.SectorSize),
		lanes: a.deps.Settings.Lanes, buffers: &a.buffers, held: a.holds,
	}
}

// clones is held shared while a checkpoint of the machine is cloned, and alone while checkpoints are removed.
func (a *Applier) clones(m farshore.MachineID) *sync.RWMutex {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.locks[m] == nil {
		a.locks[m] = &sync.RWMutex{}
	}
	return a.locks[m]
}

// slots bounds how many windows are in memory at once.
type slots chan struct{}

func (s slots) acquire(ctx context.Context) error {
	select {
	case s <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s slots) release() { <-s }

// task is a goroutine that can be ended.
type task struct {
	cancel context.CancelFunc
	done   chan struct{}
	jobs   []Job // of a run: what it works on
}

func start(ctx context.Context, act func(context.Context)) *task {
	ctx, cancel := context.WithCancel(ctx)
	t := &task{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(t.done)
		act(ctx)
	}()
	return t
}

func (t *task) stop() {
	t.cancel()
	<-t.done
}

// crew is the goroutines of a running applier: one for each machine, one for each run that has jobs.
type crew struct {
	applier  *Applier
	machines map[farshore.MachineID]*task
	runs     map[farshore.RunID]*task
}

func (c *crew) wait() {
	for _, t := range c.machines {
		t.stop()
	}
	for _, t := range c.runs {
		t.stop()
	}
}

// follow starts and stops goroutines so that exactly the desired machines are followed.
func (c *crew) follow(ctx context.Context, desired []farshore.MachineID) {
	for m, t := range c.machines {
		if !slices.Contains(desired, m) {
			t.stop()
			delete(c.machines, m)
			c.applier.observed.forgetMachine(m)
		}
	}
	for _, m := range desired {
		if c.machines[m] == nil {
			c.machines[m] = start(ctx, func(ctx context.Context) { c.applier.follow(ctx, m) })
		}
	}
}

// work sees that the jobs of every run are worked on in their order.
func (c *crew) work(ctx context.Context, desired []Job) {
	ids := map[string]bool{}
	byRun := map[farshore.RunID][]Job{}
	for _, j := range desired {
		ids[j.ID] = true
		byRun[j.Run] = append(byRun[j.Run], j)
	}
	for run, t := range c.runs {
		if !slices.Equal(t.jobs, byRun[run]) {
			t.stop()
			delete(c.runs, run)
		}
	}
	c.applier.observed.keepJobs(ids)
	for run, jobs := range byRun {
		if c.runs[run] != nil {
			continue
		}
		for _, j := range jobs {
			c.applier.observed.begin(j.ID)
		}
		c.runs[run] = start(ctx, func(ctx context.Context) { c.applier.inOrder(ctx, jobs) })
		c.runs[run].jobs = jobs
	}
}

// inOrder does the jobs of one run. Making disks that a later job removes again would be in vain, and after a restart it
// would bring back what was removed: such a job is not done again.
func (a *Applier) inOrder(ctx context.Context, jobs []Job) {
	for i, j := range jobs {
		if a.observed.state(j.ID) != Running {
			continue
		}
		if j.Kind == Materialise && slices.ContainsFunc(jobs[i+1:], func(later Job) bool { return later.Kind == Discard }) {
			a.observed.job(j.ID, func(o *JobObserved) {
				o.State, o.Disks = Failed, nil
				o.Fault = &fault.Fault{
					Code: "FS-4004", Kind: fault.Refused, Subject: "run " + string(j.Run), What: "its disks were discarded", Remedy: "start a new run",
				}
			})
			continue
		}
		a.do(ctx, j)
		if ctx.Err() != nil {
			return
		}
	}
}
