package hub

import (
	"time"

	"farshore"
	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/fault"
)

// FaultMessage writes a fault as a message. Its cause goes into the sentence: causes do not cross the wire.
func FaultMessage(f *fault.Fault) *farshorev1.Fault {
	if f == nil {
		return nil
	}
	what := f.What
	if f.Err != nil {
		what += ": " + f.Err.Error()
	}
	return &farshorev1.Fault{Code: f.Code, Kind: f.Kind.String(), Subject: f.Subject, What: what, Remedy: f.Remedy}
}

// Fault is the inverse of [FaultMessage]. A kind that this version does not know needs a person.
func Fault(m *farshorev1.Fault) *fault.Fault {
	if m == nil {
		return nil
	}
	kind, err := fault.ParseKind(m.GetKind())
	if err != nil {
		kind = fault.Operator
	}
	return &fault.Fault{Code: m.GetCode(), Kind: kind, Subject: m.GetSubject(), What: m.GetWhat(), Remedy: m.GetRemedy()}
}

// PositionMessage writes a position as a message.
func PositionMessage(p farshore.Position) *farshorev1.Position {
	return &farshorev1.Position{Generation: uint32(p.Generation), Epoch: uint32(p.Epoch), Seq: uint64(p.Seq)}
}

// Position is the inverse of [PositionMessage]; nothing reads as the zero Position.
func Position(m *farshorev1.Position) farshore.Position {
	return farshore.Position{
		Generation: farshore.Generation(m.GetGeneration()), Epoch: farshore.Epoch(m.GetEpoch()), Seq: farshore.Seq(m.GetSeq()),
	}
}

// PointMessage writes a recovery point as a message.
func PointMessage(p farshore.RecoveryPoint) *farshorev1.RecoveryPoint {
	return &farshorev1.RecoveryPoint{
		Machine: string(p.Machine), Position: PositionMessage(p.Position), Lsn: uint64(p.LSN), TimeUnixNano: p.Time.UnixNano(),
		Suspect: p.Suspect, Consistency: string(p.Consistency), Note: p.Note,
	}
}

// Point is the inverse of [PointMessage].
func Point(m *farshorev1.RecoveryPoint) farshore.RecoveryPoint {
	return farshore.RecoveryPoint{
		Machine: farshore.MachineID(m.GetMachine()), Position: Position(m.GetPosition()), LSN: farshore.LSN(m.GetLsn()),
		Time: time.Unix(0, m.GetTimeUnixNano()).UTC(), Suspect: m.GetSuspect(),
		Consistency: farshore.Consistency(m.GetConsistency()), Note: m.GetNote(),
	}
}

// MachineMessage writes a machine's description as a message.
func MachineMessage(s farshore.MachineSpec) *farshorev1.MachineSpec {
	m := &farshorev1.MachineSpec{
		Id: string(s.ID), Hostname: s.Hostname, Os: s.OS, OsName: s.OSName, Firmware: string(s.Firmware),
		Cpus: int32(s.CPUs), MemoryBytes: s.MemoryBytes,
	}
	for _, d := range s.Disks {
		m.Disks = append(m.Disks, &farshorev1.DiskSpec{Id: string(d.ID), SizeBytes: d.SizeBytes, Boot: d.Boot, Path: d.Path})
	}
	for _, n := range s.NICs {
		m.Nics = append(m.Nics, &farshorev1.NicSpec{Name: n.Name, Mac: n.MAC, Addresses: n.Addresses})
	}
	return m
}

// Machine is the inverse of [MachineMessage].
func Machine(m *farshorev1.MachineSpec) farshore.MachineSpec {
	s := farshore.MachineSpec{
		ID: farshore.MachineID(m.GetId()), Hostname: m.GetHostname(), OS: m.GetOs(), OSName: m.GetOsName(),
		Firmware: farshore.Firmware(m.GetFirmware()), CPUs: int(m.GetCpus()), MemoryBytes: m.GetMemoryBytes(),
	}
	for _, d := range m.GetDisks() {
		s.Disks = append(s.Disks, farshore.DiskSpec{ID: farshore.DiskID(d.GetId()), SizeBytes: d.GetSizeBytes(), Boot: d.GetBoot(), Path: d.GetPath()})
	}
	for _, n := range m.GetNics() {
		s.NICs = append(s.NICs, farshore.NICSpec{Name: n.GetName(), MAC: n.GetMac(), Addresses: n.GetAddresses()})
	}
	return s
}
