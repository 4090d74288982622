package readiness_test

import (
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"farshore/dataplane/readiness"
)

func TestAChangeOfTheConfigurationIsSeenByTheNameOfItsFile(t *testing.T) {
	look := func(change func(tree)) []readiness.ConfigurationFile {
		r, _ := ready()
		r.put("etc/hostname", "web-01\n")
		r.put("etc/ssh/ssh_host_ed25519_key.pub", "ssh-ed25519 AAAA")
		change(r)
		return readiness.Configuration(&readiness.Machine{Root: fstest.MapFS(r)})
	}
	before := look(func(tree) {})
	for _, row := range []struct {
		name   string // of the file that is told; "" for none
		change func(tree)
	}{
		{"", func(tree) {}},
		{"", func(r tree) { r.put("etc/ssh/ssh_host_ed25519_key", "a secret") }},
		{"", func(r tree) { r.put("boot/grub/grubenv", "saved_entry=1\n") }},
		{"/etc/fstab", func(r tree) { r.put("etc/fstab", "/dev/sda1 / ext4 defaults 0 1\n") }},
		{"/etc/hostname", func(r tree) { r.put("etc/hostname", "web-02\n") }},
		{"/etc/ssh/ssh_host_ed25519_key.pub", func(r tree) { r.put("etc/ssh/ssh_host_ed25519_key.pub", "ssh-ed25519 BBBB") }},
		{"/etc/netplan/50-cloud-init.yaml", func(r tree) { r.put("etc/netplan/50-cloud-init.yaml", "network: {}\n") }},
		{"/boot, its kernels and initramfs", func(r tree) { r.put(initrd, strings.Repeat("x", 99)) }},
	} {
		var told []string
		for _, f := range look(row.change) {
			if !slices.Contains(before, f) {
				told = append(told, f.Name)
			}
		}
		if got := strings.Join(told, " and "); got != row.name {
			t.Errorf("told are %q, want %q", got, row.name)
		}
	}
	if len(before) < 4 {
		t.Errorf("only these were looked at: %v", before)
	}
}
