package disk

import (
	"os"
	"strings"
)

func hardwareName(d *Device) string {
	if !d.node {
		return ""
	}
	for _, name := range []string{"wwid", "device/wwid"} {
		// A vendor string in a wwid ("t10.ATA ...") is not world wide; nor is a wwid of zeros.
		wwid := attribute(d.sys(name))
		for _, scheme := range []string{"naa.", "eui.", "uuid."} {
			if rest, ok := strings.CutPrefix(wwid, scheme); ok && strings.Trim(rest, "0") != "" {
				return "wwn-" + rest
			}
		}
	}
	for _, name := range []string{"serial", "device/serial"} {
		if s := attribute(d.sys(name)); s != "" {
			return "serial-" + s
		}
	}
	page, err := os.ReadFile(d.sys("device/vpd_pg80")) // SCSI: four bytes of header, then the serial number
	if err != nil || len(page) <= 4 || strings.TrimSpace(string(page[4:])) == "" {
		return ""
	}
	return "serial-" + string(page[4:])
}

func backingName(d *Device) string {
	if d.node {
		if behind := attribute(d.sys("loop/backing_file")); behind != "" {
			return behind
		}
	}
	return d.path
}
