package farshore

// Firmware says how a machine starts.
type Firmware string

// The kinds of firmware.
const (
	BIOS Firmware = "bios"
	UEFI Firmware = "uefi"
)

// DiskSpec describes one protected disk.
type DiskSpec struct {
	ID        DiskID `json:"id"`
	SizeBytes uint64 `json:"sizeBytes"` // a multiple of 512
	Boot      bool   `json:"boot,omitempty"`
	Path      string `json:"path,omitempty"` // where the agent sees it now; a hint, never an identity
}

// NICSpec describes one network interface of the source machine.
type NICSpec struct {
	Name      string   `json:"name"`
	MAC       string   `json:"mac,omitempty"`
	Addresses []string `json:"addresses,omitempty"` // CIDR form
}

// MachineSpec is what must be known to restore a machine without Farshore: it is stored in the vault beside the stream.
type MachineSpec struct {
	ID          MachineID  `json:"id"`
	Hostname    string     `json:"hostname"`
	OS          string     `json:"os"` // "linux" or "windows"
	OSName      string     `json:"osName,omitempty"`
	Firmware    Firmware   `json:"firmware"`
	CPUs        int        `json:"cpus"`
	MemoryBytes uint64     `json:"memoryBytes"`
	Disks       []DiskSpec `json:"disks"`
	NICs        []NICSpec  `json:"nics,omitempty"`
}

// Target is where a machine is recovered to, chosen when protection is enabled and editable until a failover.
type Target struct {
	Location      string            `json:"location"`
	ResourceGroup string            `json:"resourceGroup"`
	VMSize        string            `json:"vmSize"`
	Network       string            `json:"network"` // name of the virtual network used by a failover
	Subnet        string            `json:"subnet"`
	TestNetwork   string            `json:"testNetwork,omitempty"` // empty: an isolated network is made for each test and removed with it
	StaticAddress string            `json:"staticAddress,omitempty"`
	Tags          map[string]string `json:"tags,omitempty"`
}
