package applier

import (
	"cmp"
	"maps"
	"slices"
	"sync"

	"farshore"
	"farshore/fault"
)

// observations is what the goroutines of an applier have to say. Safe for concurrent use.
type observations struct {
	mu       sync.Mutex
	replicas map[farshore.MachineID]*ReplicaObserved
	faults   map[farshore.MachineID]*fault.Fault
	passed   map[generation]*fault.Fault
	jobs     map[string]*JobObserved
}

// generation is one of a machine's.
type generation struct {
	machine farshore.MachineID
	number  farshore.Generation
}

func newObservations() *observations {
	return &observations{
		replicas: map[farshore.MachineID]*ReplicaObserved{}, faults: map[farshore.MachineID]*fault.Fault{},
		passed: map[generation]*fault.Fault{}, jobs: map[string]*JobObserved{},
	}
}

// replica changes what is known of a replica, which is moving: its fault is over.
func (o *observations) replica(m farshore.MachineID, change func(*ReplicaObserved)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.replicas[m] == nil {
		o.replicas[m] = &ReplicaObserved{Machine: m}
	}
	change(o.replicas[m])
	delete(o.faults, m)
}

// fault sets or, with nil, clears what keeps a replica from moving.
func (o *observations) fault(m farshore.MachineID, f *fault.Fault) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if f == nil {
		delete(o.faults, m)
		return
	}
	o.faults[m] = f
}

// faultOf is what keeps a replica from moving; nil: nothing.
func (o *observations) faultOf(m farshore.MachineID) *fault.Fault {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.faults[m]
}

// pass notes what broke a generation that was left behind. It is told until the machine is forgotten.
func (o *observations) pass(m farshore.MachineID, g farshore.Generation, f *fault.Fault) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.passed[generation{m, g}] = f
}

func (o *observations) forgetMachine(m farshore.MachineID) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.replicas, m)
	delete(o.faults, m)
	maps.DeleteFunc(o.passed, func(g generation, _ *fault.Fault) bool { return g.machine == m })
}

// begin makes a job known, unless it is.
func (o *observations) begin(id string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.jobs[id] == nil {
		o.jobs[id] = &JobObserved{ID: id, State: Running}
	}
}

func (o *observations) job(id string, change func(*JobObserved)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if j := o.jobs[id]; j != nil {
		change(j)
	}
}

func (o *observations) state(id string) JobState {
	o.mu.Lock()
	defer o.mu.Unlock()
	if j := o.jobs[id]; j != nil {
		return j.State
	}
	return 0
}

// keepJobs forgets all other jobs.
func (o *observations) keepJobs(ids map[string]bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	maps.DeleteFunc(o.jobs, func(id string, _ *JobObserved) bool { return !ids[id] })
}

func (o *observations) snapshot() Observed {
	o.mu.Lock()
	defer o.mu.Unlock()
	var s Observed
	for _, m := range slices.Sorted(maps.Keys(o.replicas)) {
		r := *o.replicas[m]
		r.Fault = o.faults[m]
		s.Replicas = append(s.Replicas, r)
	}
	for _, m := range slices.Sorted(maps.Keys(o.faults)) {
		s.Faults = append(s.Faults, o.faults[m])
	}
	s.StandingStill = len(s.Faults)
	broken := slices.SortedFunc(maps.Keys(o.passed), func(a, b generation) int {
		return cmp.Or(cmp.Compare(a.machine, b.machine), cmp.Compare(a.number, b.number))
	})
	for _, g := range broken {
		s.Faults = append(s.Faults, o.passed[g])
	}
	for _, j := range o.jobs {
		made := *j
		made.Disks = slices.Clone(j.Disks)
		s.Jobs = append(s.Jobs, made)
	}
	slices.SortFunc(s.Jobs, func(a, b JobObserved) int { return cmp.Compare(a.ID, b.ID) })
	return s
}
