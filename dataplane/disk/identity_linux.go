package disk

import (
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
	if s := serial(d); s != "" {
		return "serial-" + s
	}
	return ""
}

func backingName(d *Device) string {
	if d.node {
		if behind := attribute(d.sys("loop/backing_file")); behind != "" {
			return behind
		}
	}
	return d.path
}
