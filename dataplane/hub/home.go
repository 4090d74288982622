package hub

import (
	"farshore"
	farshorev1 "farshore/api/gen/farshore/v1"
)

// Home is the inverse of [HomeMessage].
func Home(m *farshorev1.Home) farshore.Home {
	h := farshore.Home{
		Kind: farshore.HomeKind(m.GetKind()), MasterTarget: m.GetMasterTarget(), Overwrite: m.GetOverwrite(), Address: m.GetAddress(), Unready: m.GetUnready(),
	}
	if v := m.GetVsphere(); v != nil {
		h.VSphere = &farshore.VSphereHome{
			VCenter: v.GetVcenter(), Datacenter: v.GetDatacenter(), Folder: v.GetFolder(), Pool: v.GetPool(), Datastore: v.GetDatastore(),
			Network: v.GetNetwork(), VM: v.GetVm(), KeepMAC: v.GetKeepMac(),
		}
	}
	for disk, place := range m.GetDisks() {
		if h.Disks == nil {
			h.Disks = map[farshore.DiskID]string{}
		}
		h.Disks[farshore.DiskID(disk)] = place
	}
	return h
}

// HomeMessage writes a home as a message.
func HomeMessage(h farshore.Home) *farshorev1.Home {
	m := &farshorev1.Home{Kind: string(h.Kind), MasterTarget: h.MasterTarget, Overwrite: h.Overwrite, Address: h.Address, Unready: h.Unready}
	if v := h.VSphere; v != nil {
		m.Vsphere = &farshorev1.VSphereHome{
			Vcenter: v.VCenter, Datacenter: v.Datacenter, Folder: v.Folder, Pool: v.Pool, Datastore: v.Datastore, Network: v.Network, Vm: v.VM, KeepMac: v.KeepMAC,
		}
	}
	for disk, place := range h.Disks {
		if m.Disks == nil {
			m.Disks = map[string]string{}
		}
		m.Disks[string(disk)] = place
	}
	return m
}

// FailbackPolicy is the inverse of [FailbackPolicyMessage].
func FailbackPolicy(m *farshorev1.FailbackPolicy) farshore.FailbackPolicy {
	return farshore.FailbackPolicy{
		RPOThresholdSeconds: int(m.GetRpoThresholdSeconds()), RetentionHours: int(m.GetRetentionHours()), CrashEverySeconds: int(m.GetCrashEverySeconds()),
		AppEverySeconds: int(m.GetAppEverySeconds()), PrivatePath: m.GetPrivatePath(), TemporaryProcessServer: m.GetTemporaryProcessServer(),
		GraceHours: int(m.GetGraceHours()), Keep: m.GetKeep(),
	}
}

// FailbackPolicyMessage writes a failback policy as a message; nil if there is none.
func FailbackPolicyMessage(p farshore.FailbackPolicy) *farshorev1.FailbackPolicy {
	if p == (farshore.FailbackPolicy{}) {
		return nil
	}
	return &farshorev1.FailbackPolicy{
		RpoThresholdSeconds: uint32(p.RPOThresholdSeconds), RetentionHours: uint32(p.RetentionHours), CrashEverySeconds: uint32(p.CrashEverySeconds),
		AppEverySeconds: uint32(p.AppEverySeconds), PrivatePath: p.PrivatePath, TemporaryProcessServer: p.TemporaryProcessServer, GraceHours: uint32(p.GraceHours),
		Keep: p.Keep,
	}
}
