package disk

import (
	"fmt"
	"os"
)

// Queue gives an attribute of the device's queue in sysfs ("dax"), "" if there is none.
func (d *Device) Queue(name string) string {
	if !d.node {
		return ""
	}
	return attribute(d.sys("queue/" + name))
}

// Stabilise asks the kernel to keep pages still while they are written to the device (queue/stable_writes), so that what is
// seen of a write when it is submitted is what arrives. It holds for file systems mounted from then on. The values before
// and now are "0" or "1", and "" on kernels that cannot be asked (before 5.10).
func (d *Device) Stabilise() (before, now string) {
	before = d.Queue("stable_writes")
	if before == "0" && d.setStable("1") != nil {
		return before, before // a driver may refuse it
	}
	return before, d.Queue("stable_writes")
}

// Unstabilise puts back what Stabilise found.
func (d *Device) Unstabilise(before string) error { return d.setStable(before) }

func (d *Device) setStable(value string) error {
	if err := os.WriteFile(d.sys("queue/stable_writes"), []byte(value), 0); err != nil {
		return fmt.Errorf("set stable_writes of %s: %w", d.path, err)
	}
	return nil
}
