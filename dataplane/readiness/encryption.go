package readiness

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"farshore/dataplane/readiness/volume"
)

// encryption checks that each encrypted volume that is opened at the start can be opened elsewhere.
func (c *checker) encryption() {
	for _, e := range parseTable(c.read("etc/crypttab")) {
		if len(e.fields) < 2 || e.option(3, "noauto", "nofail", "swap", "plain", "tmp") {
			continue
		}
		c.encrypted(e)
	}
}

func (c *checker) encrypted(e tableEntry) {
	luks := c.luks(e.field(1))
	holders := tokens(luks)
	if e.option(3, "tpm2-device") && !slices.Contains(holders, "systemd-tpm2") {
		holders = append(holders, "systemd-tpm2")
	}
	for _, option := range []string{"fido2-device", "pkcs11-uri"} {
		if e.option(3, option) {
			holders = append(holders, option)
		}
	}
	f := Finding{
		Code: RootEncrypted, Severity: Degrades, Targets: Targets(), Subject: fmt.Sprintf("/etc/crypttab:%d", e.number),
		Commands: []string{"cryptsetup luksAddKey " + c.nameOf(e.field(1)) + "  # a passphrase, kept where it is found on the worst day"},
	}
	switch key := e.field(2); {
	case luks != nil && len(luks.Keyslots) > 0 && luks.Passphrases() == 0:
		f.Severity = Blocks
		f.What = fmt.Sprintf("%s is opened by %s, and by no passphrase", e.field(0), strings.Join(holders, ", "))
		f.Why = "what holds the key belongs to this machine, or is a service of its network: elsewhere nobody can open the volume"
	case len(holders) > 0:
		f.What = fmt.Sprintf("%s is opened by %s here", e.field(0), strings.Join(holders, ", "))
		f.Why = "elsewhere somebody must type a passphrase at the console at each start, and must know it"
		if luks == nil {
			f.Why = "elsewhere that is not there: if no passphrase is enrolled besides, nobody can open the volume"
		}
	case key == "" || key == "none" || key == "-":
		f.What = e.field(0) + " is opened by a passphrase"
		f.Why = "somebody must type it at the console at each start: a failover waits for that"
		f.Commands = nil
	default:
		return // a key file travels with the disk
	}
	c.report(f)
}

// tokens lists what holds keys of a volume.
func tokens(luks *volume.LUKS) []string {
	var names []string
	if luks == nil {
		return nil
	}
	for _, t := range luks.Tokens {
		if t.Type != "systemd-recovery" {
			names = append(names, t.Type)
		}
	}
	return names
}

// luks finds the header of an encrypted volume by the name that crypttab uses.
func (c *checker) luks(spec string) *volume.LUKS {
	if d, ok := c.device(spec); ok {
		return d.LUKS
	}
	key, value, ok := strings.Cut(spec, "=")
	if !ok {
		key, value = strings.ToUpper(strings.TrimPrefix(path.Base(path.Dir(spec)), "by-")), path.Base(spec)
	}
	for _, d := range c.Facts.Devices {
		name := map[string]string{"UUID": d.UUID, "LABEL": d.Label, "PARTUUID": d.PartUUID}[key]
		if name != "" && strings.EqualFold(name, strings.Trim(value, `"`)) {
			return d.LUKS
		}
	}
	return nil
}

// nameOf gives a path for a volume that crypttab names.
func (c *checker) nameOf(spec string) string {
	if uuid, ok := strings.CutPrefix(spec, "UUID="); ok {
		return "/dev/disk/by-uuid/" + strings.Trim(uuid, `"`)
	}
	return spec
}
