package mastertarget

import (
	"cmp"
	"slices"

	"farshore"
)

// observe changes what is known of a machine that is desired.
func (t *Target) observe(m farshore.MachineID, change func(*MachineObserved)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.machines[m] == nil {
		t.machines[m] = &MachineObserved{Machine: m}
	}
	change(t.machines[m])
}

// machinesNow gives what is known of the machines, in the order of their names.
func (t *Target) machinesNow() []MachineObserved {
	t.mu.Lock()
	defer t.mu.Unlock()
	var all []MachineObserved
	for _, m := range t.machines {
		all = append(all, *m)
	}
	slices.SortFunc(all, func(a, b MachineObserved) int { return cmp.Compare(a.Machine, b.Machine) })
	return all
}

// Observed is what the master target reports now.
func (t *Target) Observed() Observed {
	o := Observed{VM: t.deps.Settings.VM, Machines: t.machinesNow()}
	o.Devices, o.Folders = t.offered()
	t.mu.Lock()
	o.Faults = slices.Clone(t.faults)
	t.mu.Unlock()
	for _, m := range o.Machines {
		if m.Fault != nil {
			o.Faults = append(o.Faults, m.Fault)
		}
	}
	return o
}
