package agent

import (
	"farshore/dataplane/disk"
	"farshore/fault"
)

// checkRunDir refuses a run directory on a disk that will be frozen: the next store to a bitmap would wait for the thaw,
// which is ours to order.
func (a *Agent) checkRunDir(devices []*disk.Device) error {
	on, err := disk.Holds(a.deps.RunDir, devices...)
	if err != nil || !on {
		return err
	}
	return &fault.Fault{
		Code: "FS-1013", Kind: fault.Operator, Subject: "run directory " + a.deps.RunDir, What: "it lies on a protected disk",
		Remedy: "set runDir to a folder of a file system in memory (tmpfs), as /run is on most machines",
	}
}
