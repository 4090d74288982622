package vsphere

import (
	"crypto/sha256"
	"fmt"
	"strings"

	"github.com/vmware/govmomi/vim25/types"

	"farshore"
)

// The marks are keys of a VM's ExtraConfig. They go with the VM wherever it is moved, and into its clones: what a mark says is
// compared with the devices before anything is done.
const (
	markVault    = "farshore.vault"    // on a machine's VM: the vault it belongs to
	markMachine  = "farshore.machine"  // on a machine's VM
	markRun      = "farshore.run"      // on a machine's VM: the run that made it
	markBorrower = "farshore.borrower" // on a machine's VM: BIOS UUID of the VM that has or had its disks
	markDisk     = "farshore.disk."    // on a machine's VM, with a slot: the disk that lies there
	markLent     = "farshore.lent."    // on the master target's VM, with a slot: vault, run, machine and file of the disk that is lent to it there

	enableUUID = "disk.EnableUUID" // makes a guest see the disks' UUIDs
)

func option(key, value string) types.BaseOptionValue {
	return &types.OptionValue{Key: key, Value: value}
}

// extra reads a VM's ExtraConfig.
func extra(config *types.VirtualMachineConfigInfo) map[string]string {
	values := map[string]string{}
	if config == nil {
		return values
	}
	for _, o := range config.ExtraConfig {
		if v := o.GetOptionValue(); v != nil {
			values[v.Key] = fmt.Sprint(v.Value)
		}
	}
	return values
}

// lent is what a mark on the master target's VM says.
type lent struct {
	vault   string
	run     farshore.RunID
	machine farshore.MachineID
	file    string
}

func (l lent) String() string {
	return strings.Join([]string{l.vault, string(l.run), string(l.machine), l.file}, " ")
}

// parseLent reads a mark; the names of vaults, runs and machines have no spaces, paths do.
func parseLent(s string) (lent, bool) {
	parts := strings.SplitN(s, " ", 4)
	if len(parts) != 4 {
		return lent{}, false
	}
	return lent{parts[0], farshore.RunID(parts[1]), farshore.MachineID(parts[2]), parts[3]}, true
}

// instanceUUID is the one that a machine's VM is made with: vCenter finds it in one request among thousands of VMs, and no
// clone has it.
func instanceUUID(vault string, m farshore.MachineID) string {
	sum := sha256.Sum256([]byte("farshore vm\x00" + vault + "\x00" + string(m)))
	sum[6], sum[8] = sum[6]&0x0f|0x80, sum[8]&0x3f|0x80 // a UUID of version 8
	return fmt.Sprintf("%x-%x-%x-%x-%x", sum[0:4], sum[4:6], sum[6:8], sum[8:10], sum[10:16])
}

// guestUUIDs are the forms in which vCenter may know the VM whose system says its UUID is s. From virtual hardware 13 on the
// system sees the first three fields with their bytes the other way round.
func guestUUIDs(s string) []string {
	s = strings.ToLower(strings.ReplaceAll(s, "-", ""))
	if len(s) != 32 {
		return nil
	}
	form := func(h string) string {
		return h[0:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:32]
	}
	swap := func(h string) string {
		out := ""
		for i := len(h); i > 0; i -= 2 {
			out += h[i-2 : i]
		}
		return out
	}
	return []string{form(s), form(swap(s[0:8]) + swap(s[8:12]) + swap(s[12:16]) + s[16:])}
}
