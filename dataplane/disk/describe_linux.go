package disk

import (
	"errors"
	"os"
	"strings"
)

// About is what tells a person which disk it is.
type About struct {
	Bytes  int64
	Model  string // empty where the hardware has none
	Serial string
	Holds  string // see [Contents]
}

// Describe looks at a whole block device: at its two ends, and at what the hardware says.
func Describe(path string) (About, error) {
	d, err := Open(path)
	if err != nil {
		return About{}, err
	}
	sectors, err := d.Sectors()
	if err != nil {
		return About{}, errors.Join(err, d.Close())
	}
	a := About{Bytes: sectors.Bytes(), Model: attribute(d.sys("device/model")), Serial: strings.TrimSpace(serial(d))}
	a.Holds, err = Contents(d, a.Bytes)
	return a, errors.Join(err, d.Close())
}

// serial is the serial number as the hardware tells it; empty if it has none.
func serial(d *Device) string {
	for _, name := range []string{"serial", "device/serial"} {
		if s := attribute(d.sys(name)); s != "" {
			return s
		}
	}
	page, err := os.ReadFile(d.sys("device/vpd_pg80")) // SCSI: four bytes of header, then the serial number
	if err != nil || len(page) <= 4 || strings.TrimSpace(string(page[4:])) == "" {
		return ""
	}
	return string(page[4:])
}
