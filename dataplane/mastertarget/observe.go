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

// Observed is what the master target reports now.
func (t *Target) Observed() Observed {
	o := Observed{VM: t.deps.Settings.VM}
	o.Devices, o.Folders = t.deps.Settings.offered()
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, m := range t.machines {
		o.Machines = append(o.Machines, *m)
	}
	slices.SortFunc(o.Machines, func(a, b MachineObserved) int { return cmp.Compare(a.Machine, b.Machine) })
	o.Faults = append(o.Faults, t.faults...)
	for _, m := range o.Machines {
		if m.Fault != nil {
			o.Faults = append(o.Faults, m.Fault)
		}
	}
	return o
}
