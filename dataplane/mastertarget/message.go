package mastertarget

import (
	"time"

	"farshore"
	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/dataplane/block"
	"farshore/dataplane/hub"
	"farshore/dataplane/sink"
)

// DesiredOf reads a desired document of the hub. Machines whose names are not valid are left out: the hub holds none.
func DesiredOf(r *farshorev1.SyncResponse) Desired {
	d := Desired{Version: Version{Incarnation: r.GetVersion().GetIncarnation(), Number: r.GetVersion().GetNumber()}}
	for _, m := range r.GetMasterTarget().GetMachines() {
		id, err := farshore.ParseMachineID(m.GetMachine())
		if err != nil {
			continue
		}
		wanted := Machine{Machine: id, Run: farshore.RunID(m.GetRun()), Finish: hub.Position(m.GetFinish()), Touched: m.GetTouched()}
		for _, s := range m.GetSinks() {
			if disk, err := farshore.ParseDiskID(s.GetDisk()); err == nil {
				wanted.Sinks = append(wanted.Sinks, sink.Sink{
					Disk: disk, Kind: farshore.HomeKind(s.GetKind()), Path: s.GetPath(), Sectors: block.Count(s.GetSizeBytes() / block.SectorSize), Overwrite: s.GetOverwrite(),
				})
			}
		}
		d.Machines = append(d.Machines, wanted)
	}
	return d
}

// Message is the report as the hub takes it.
func (o Observed) Message() *farshorev1.MasterTargetObserved {
	m := &farshorev1.MasterTargetObserved{Vm: o.VM}
	for _, s := range o.Machines {
		m.Machines = append(m.Machines, s.message())
	}
	for _, f := range o.Faults {
		m.Faults = append(m.Faults, hub.FaultMessage(f))
	}
	for _, d := range o.Devices {
		m.Devices = append(m.Devices, &farshorev1.OfferedDevice{Path: d.Path, SizeBytes: uint64(d.Bytes), Busy: d.Busy, Model: d.Model, Serial: d.Serial, Holds: d.Holds})
	}
	for _, f := range o.Folders {
		m.Folders = append(m.Folders, &farshorev1.OfferedFolder{Path: f.Path, FreeBytes: uint64(f.Free)})
	}
	return m
}

func (o MachineObserved) message() *farshorev1.SinksObserved {
	m := &farshorev1.SinksObserved{
		Machine: string(o.Machine), Run: string(o.Run), Open: o.Open, Applied: hub.PositionMessage(o.Applied), Clean: hub.PositionMessage(o.Clean),
		CaughtUp: o.CaughtUp, WrittenBytes: uint64(o.Written), EqualBytes: uint64(o.Equal), TotalBytes: uint64(o.Proof.Total),
		ComparedBytes: uint64(o.Proof.Compared), DifferentBytes: uint64(o.Proof.Different), Fault: hub.FaultMessage(o.Fault),
	}
	for _, s := range o.Sinks {
		m.Sinks = append(m.Sinks, &farshorev1.SinkDesired{
			Disk: string(s.Disk), Kind: string(s.Kind), Path: s.Path, SizeBytes: uint64(s.Sectors.Bytes()), Overwrite: s.Overwrite,
		})
	}
	if !o.Finish.IsZero() {
		m.Finish = hub.PositionMessage(o.Finish)
	}
	if !o.Finished.IsZero() {
		m.Finished = hub.PositionMessage(o.Finished)
	}
	if !o.UTC.IsZero() && o.UTC.After(time.Unix(0, 0)) {
		m.AppliedUnixNano = o.UTC.UnixNano()
	}
	return m
}
