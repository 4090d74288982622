package farshore

import "fmt"

// Home says where a machine comes home to: its failback target.
type Home struct {
	Kind HomeKind `json:"kind"`
	// MasterTarget is the name of the master target that shall write the disks; empty: one is chosen by space and load.
	MasterTarget string       `json:"masterTarget,omitempty"`
	VSphere      *VSphereHome `json:"vsphere,omitempty"` // of kind vsphere
	// Disks are where the master target finds the disks to write, by disk, of the other kinds: a durable device name
	// (/dev/disk/by-id/...) for device, a path for file and qcow2.
	Disks map[DiskID]string `json:"disks,omitempty"`
	// Overwrite allows to write disks that hold something else already: a person has confirmed Disks.
	Overwrite bool `json:"overwrite,omitempty"`
	// Address is a host:port at home that the recovery site must reach if the failback policy asks for a private path.
	Address string `json:"address,omitempty"`
	// Unready lets a machine come home of which its agent says that it would not start there.
	Unready bool `json:"unready,omitempty"`
}

// StartsOn is what the machine meets at home when it starts, in the words of its readiness.
func (h Home) StartsOn() string {
	switch h.Kind {
	case HomeVSphere:
		return "vmware"
	case HomeDevice:
		return "metal"
	case HomeFile, HomeQCOW2:
		return "kvm"
	}
	return ""
}

// HomeKind says what the disks of a home are.
type HomeKind string

// The kinds of home.
const (
	HomeVSphere HomeKind = "vsphere" // a VM on vSphere; its VMDKs are attached to the master target while it writes them
	HomeDevice  HomeKind = "device"  // disks of the master target's host: original or other metal
	HomeFile    HomeKind = "file"    // raw files
	HomeQCOW2   HomeKind = "qcow2"   // images for KVM
)

// Missing names what a home lacks before machine could come home to it; empty: nothing.
func (h Home) Missing(machine MachineSpec) string {
	switch h.Kind {
	case HomeVSphere:
		if h.VSphere == nil || h.VSphere.VCenter == "" || h.VSphere.Datastore == "" || h.VSphere.Network == "" {
			return "vsphere with vcenter, datastore and network"
		}
		return ""
	case HomeDevice, HomeFile, HomeQCOW2:
		for _, d := range machine.Disks {
			if h.Disks[d.ID] == "" {
				return fmt.Sprintf("disks with a place for disk %s", d.ID)
			}
		}
		return ""
	}
	return fmt.Sprintf("kind: %s, %s, %s or %s", HomeVSphere, HomeDevice, HomeFile, HomeQCOW2)
}

// VSphereHome is the place of a VM on vSphere. Names are inventory paths or plain names that are found once.
type VSphereHome struct {
	VCenter    string `json:"vcenter"` // its name in the configuration server's configuration; credentials stand there
	Datacenter string `json:"datacenter,omitempty"`
	Folder     string `json:"folder,omitempty"`
	Pool       string `json:"pool,omitempty"` // resource pool or cluster
	Datastore  string `json:"datastore"`
	Network    string `json:"network"`
	VM         string `json:"vm,omitempty"`      // name; empty: the machine's
	KeepMAC    bool   `json:"keepMac,omitempty"` // NICs keep the addresses of the source's
}

// FailbackPolicy goes with a replication policy and says how a machine that runs at the recovery site is replicated home.
// Durations are in seconds, as in [ReplicationPolicy].
type FailbackPolicy struct {
	RPOThresholdSeconds int `json:"rpoThresholdSeconds"`
	RetentionHours      int `json:"retentionHours"`
	// Keep is tiers of retention instead of the preset, as in [ReplicationPolicy].
	Keep              string `json:"keep,omitempty"`
	CrashEverySeconds int    `json:"crashEverySeconds"`
	AppEverySeconds   int    `json:"appEverySeconds"`
	// PrivatePath asks for a VPN or ExpressRoute that is connected and covers the way before a reprotect begins.
	PrivatePath bool `json:"privatePath,omitempty"`
	// TemporaryProcessServer asks for a process server that is made at the recovery site and removed after the failback.
	TemporaryProcessServer bool `json:"temporaryProcessServer,omitempty"`
	// GraceHours is how long the stopped machine at the recovery site is kept after the failback was committed.
	GraceHours int `json:"graceHours"`
}

// DefaultFailbackPolicy is Azure Site Recovery's own: 15 minutes, 24 hours, 60 minutes.
func DefaultFailbackPolicy() FailbackPolicy {
	return FailbackPolicy{RPOThresholdSeconds: 15 * 60, RetentionHours: 24, CrashEverySeconds: 5, AppEverySeconds: 3600, GraceHours: 24}
}
