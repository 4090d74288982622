package readiness_test

import (
	"strings"
	"testing"

	"farshore/dataplane/readiness"
	"farshore/dataplane/readiness/volume"
)

func TestNetworkConfigurationThatHoldsOnlyHereIsFound(t *testing.T) {
	file := func(name, content string) func(tree, *readiness.Facts) {
		return func(r tree, _ *readiness.Facts) { r.put(name, content) }
	}
	const most = "vmware,kvm,metal"
	for _, s := range []scene{
		{"udev", file("etc/udev/rules.d/70-persistent-net.rules", `SUBSYSTEM=="net", ACTION=="add", ATTR{address}=="00:11:22:33:44:55", NAME="eth0"`), readiness.NetworkMAC, readiness.Degrades, all, "mv /etc/udev/rules.d/70-persistent-net.rules", false},
		{"ifcfg", file("etc/sysconfig/network-scripts/ifcfg-eno1", "DEVICE=eno1\nHWADDR=00:11:22:33:44:55\nBOOTPROTO=none\nIPADDR=10.0.0.5\n"), readiness.NetworkMAC, readiness.Degrades, all, "HWADDR", false},
		{"ifcfg by name", file("etc/sysconfig/network-scripts/ifcfg-eno1", "DEVICE=eno1\nBOOTPROTO=dhcp\n"), readiness.NetworkName, readiness.Degrades, "azure", "eno1", false},
		{"ifcfg with an address", file("etc/sysconfig/network-scripts/ifcfg-eno1", "DEVICE=eno1\nIPADDR=10.0.0.5\n"), readiness.NetworkStatic, readiness.Note, "azure,vmware,kvm", "10.0.0.5", false},
		{"netplan", file("etc/netplan/50-cloud-init.yaml", "network:\n  version: 2\n  ethernets:\n    lan:\n      match: {macaddress: \"00:11:22:33:44:55\"}\n      set-name: lan\n      addresses: [10.0.0.5/24]\n"), readiness.NetworkMAC, readiness.Degrades, all, "netplan generate", false},
		{"netplan by name", file("etc/netplan/01.yaml", "network:\n  ethernets:\n    enp3s0: {dhcp4: true}\n"), readiness.NetworkName, readiness.Degrades, most, "enp3s0", false},
		{"netplan with an address", file("etc/netplan/01.yaml", "network:\n  ethernets:\n    eth0: {addresses: [10.0.0.5/24]}\n"), readiness.NetworkStatic, readiness.Note, "azure,vmware,kvm", "10.0.0.5/24", false},
		{"a link file", file("etc/systemd/network/10-lan.link", "[Match]\nPermanentMACAddress=00:11:22:33:44:55\n[Link]\nName=lan0\n"), readiness.NetworkMAC, readiness.Degrades, all, "00:11:22:33:44:55", false},
		{"a network file", file("etc/systemd/network/10-lan.network", "[Match]\nName=ens192\n[Network]\nAddress=10.0.0.5/24\n"), readiness.NetworkName, readiness.Degrades, "azure", "ens192", false},
		{"NetworkManager", file("etc/NetworkManager/system-connections/lan.nmconnection", "[connection]\nid=lan\ninterface-name=eno1\n[ethernet]\nmac-address=00:11:22:33:44:55\n"), readiness.NetworkMAC, readiness.Degrades, all, "nmcli connection reload", false},
		{"NetworkManager by name", file("etc/NetworkManager/system-connections/lan.nmconnection", "[connection]\ninterface-name=eno1\n[ipv4]\naddress1=10.0.0.5/24,10.0.0.1\n"), readiness.NetworkName, readiness.Degrades, most, "eno1", false},
		{"interfaces", file("etc/network/interfaces", "iface ens18 inet static\n  address 10.0.0.5/24\n"), readiness.NetworkStatic, readiness.Note, "azure,vmware,kvm", "10.0.0.5/24", false},
		{"eth0 stays only on Azure", file("etc/network/interfaces", "iface eth0 inet dhcp\n"), readiness.NetworkName, readiness.Degrades, most, "eth0", false},
	} {
		t.Run(s.name, s.play)
	}
}

func TestNetworkConfigurationThatHoldsAnywhereIsLeftAlone(t *testing.T) {
	root, facts := ready()
	root.put("boot/grub/grub.cfg", strings.ReplaceAll(grubMenu, " quiet", " quiet net.ifnames=0"))
	root.put("etc/network/interfaces", "auto lo eth0\niface lo inet loopback\niface eth0 inet dhcp\n")
	root.put("etc/systemd/network/50-dhcp.network", "[Match]\nName=en* eth*\n[Network]\nDHCP=yes\n")
	root.put("etc/netplan/01.yaml", "network:\n  ethernets:\n    any:\n      match: {name: \"e*\"}\n      dhcp4: true\n  bridges:\n    br0: {interfaces: [any]}\n")
	root.put("etc/netplan/02.yaml", "network: [")
	root.put("etc/udev/rules.d/60-other.rules", `SUBSYSTEM=="block", ATTR{address}=="1", NAME="x"`)
	root.put("etc/sysconfig/network-scripts/ifcfg-lo", "DEVICE=lo\nIPADDR=127.0.0.1\n")
	root.put("etc/sysconfig/network-scripts/ifcfg-bond0", "DEVICE=bond0\nBOOTPROTO=dhcp\n")
	for _, f := range readiness.Check(view(root, facts)) {
		if f.Code == readiness.NetworkMAC || f.Code == readiness.NetworkName || f.Code == readiness.NetworkStatic {
			t.Errorf("found %+v", f)
		}
	}
}

func TestKeysThatStayBehindAreFound(t *testing.T) {
	crypt := func(line string, luks *volume.LUKS) func(tree, *readiness.Facts) {
		return func(r tree, f *readiness.Facts) {
			r.put("etc/crypttab", line+"\n")
			if luks != nil {
				f.Devices = append(f.Devices, readiness.Device{Names: []string{"sdc1"}, Volume: volume.Volume{Type: "crypto_LUKS", UUID: "luks", LUKS: luks}})
			}
		}
	}
	clevis := []volume.Token{{Type: "clevis", Keyslots: []string{"1"}}}
	for _, s := range []scene{
		{"a TPM alone", crypt("root UUID=luks none luks", &volume.LUKS{Version: 2, Keyslots: []string{"1"}, Tokens: clevis}), readiness.RootEncrypted, readiness.Blocks, all, "cryptsetup luksAddKey /dev/disk/by-uuid/luks", false},
		{"a TPM and a passphrase", crypt("root UUID=luks none luks", &volume.LUKS{Version: 2, Keyslots: []string{"0", "1"}, Tokens: clevis}), readiness.RootEncrypted, readiness.Degrades, all, "clevis", false},
		{"a TPM, and no header to be seen", crypt("root UUID=other none tpm2-device=auto", nil), readiness.RootEncrypted, readiness.Degrades, all, "systemd-tpm2", false},
		{"a passphrase", crypt("root UUID=luks none luks,discard", &volume.LUKS{Version: 1, Keyslots: []string{"0"}}), readiness.RootEncrypted, readiness.Degrades, all, "a passphrase", false},
	} {
		t.Run(s.name, s.play)
	}
	root, facts := ready()
	crypt("data UUID=luks /etc/keys/data luks\nswap /dev/mapper/vg-swap /dev/urandom swap", &volume.LUKS{Version: 1, Keyslots: []string{"0"}})(root, &facts)
	if found := find(readiness.Check(view(root, facts)), readiness.RootEncrypted); len(found) > 0 {
		t.Errorf("a key file travels with the disk, but found %+v", found)
	}
}

func TestStacksThatLookForTheirOldDisksAreFound(t *testing.T) {
	const filter = "devices {\n  # filter = [ \"a|.*|\" ]\n  global_filter = [ \"a|^/dev/sda.*|\",\n    \"r|.*|\" ]\n}\n"
	for _, s := range []scene{
		{"a filter under the root", func(r tree, f *readiness.Facts) {
			r.put("etc/lvm/lvm.conf", filter)
			f.Stack = []string{"lvm"}
		}, readiness.LVMDevices, readiness.Blocks, all, "global_filter", false},
		{"a filter elsewhere", func(r tree, _ *readiness.Facts) { r.put("etc/lvm/lvm.conf", filter) }, readiness.LVMDevices, readiness.Degrades, all, "a|^/dev/sda.*|", false},
		{"a devices file", func(r tree, _ *readiness.Facts) {
			r.put("etc/lvm/devices/system.devices", "VERSION=1.1.1\nIDTYPE=sys_wwid IDNAME=naa.5000 DEVNAME=/dev/sda3 PVID=x PART=3\n")
		}, readiness.LVMDevices, readiness.Degrades, all, "sys_wwid", false},
		{"members of an array", func(r tree, f *readiness.Facts) {
			r.put("etc/mdadm/mdadm.conf", "DEVICE /dev/sda1 /dev/sdb1\nARRAY /dev/md0 UUID=x\n")
			f.Stack = []string{"md"}
		}, readiness.MDDevices, readiness.Blocks, all, "DEVICE partitions", false},
		{"members of another array", func(r tree, _ *readiness.Facts) {
			r.put("etc/mdadm.conf", "ARRAY /dev/md0 devices=/dev/sda1,/dev/sdb1\n")
		}, readiness.MDDevices, readiness.Degrades, all, "/dev/sdb1", false},
		{"no agent of Azure", func(r tree, _ *readiness.Facts) { delete(r, "usr/bin/cloud-init") }, readiness.GuestAgent, readiness.Note, "azure", "apt-get install -y cloud-init", false},
	} {
		t.Run(s.name, s.play)
	}
	root, facts := ready()
	root.put("etc/lvm/lvm.conf", "devices {\n filter = [ \"r|/dev/cdrom|\", \"a|.*|\" ]\n}\n")
	root.put("etc/mdadm/mdadm.conf", "DEVICE partitions containers\nARRAY /dev/md/0 metadata=1.2 UUID=x name=h:0\n")
	for _, f := range readiness.Check(view(root, facts)) {
		if f.Code == readiness.LVMDevices || f.Code == readiness.MDDevices {
			t.Errorf("found %+v", f)
		}
	}
}

func TestOnlyTheTargetsThatWereAskedAboutAreReported(t *testing.T) {
	root, facts := ready()
	root.makeInitramfs(initrd, without("hv_vmbus", "vmw_pvscsi"))
	for _, f := range readiness.Check(view(root, facts), readiness.VMware) {
		if f.TargetList() != "vmware" {
			t.Errorf("found %+v", f)
		}
	}
	steps := readiness.Plan(view(root, facts), []readiness.Target{readiness.VMware}, readiness.Fixable())
	if len(steps) != 2 || strings.Contains(string(steps[0].Write.Content), "hv_") || !strings.Contains(string(steps[0].Write.Content), "vmw_pvscsi") {
		t.Errorf("steps %+v", steps)
	}
}

func TestBothTheDefaultAndTheNewestKernelAreLookedAt(t *testing.T) {
	root, facts := ready()
	const newer = "6.12.9-1-amd64"
	root.put("boot/vmlinuz-"+newer, "kernel")
	for _, name := range []string{"modules.dep", "modules.builtin"} {
		root.put("usr/lib/modules/"+newer+"/"+name, string(root["usr/lib/modules/"+version+"/"+name].Data))
	}
	root.makeInitramfs("boot/initrd.img-"+newer, without("hv_storvsc"))
	found := find(readiness.Check(view(root, facts)), readiness.InitramfsDrivers)
	if len(found) != 1 || found[0].Subject != "/boot/initrd.img-"+newer || !strings.Contains(found[0].What, "newest") {
		t.Errorf("found %+v", found)
	}
	root.makeInitramfs("boot/initrd.img-"+newer, everything)
	root.makeInitramfs(initrd, without("hv_storvsc"))
	found = find(readiness.Check(view(root, facts)), readiness.InitramfsDrivers)
	if len(found) != 1 || found[0].Subject != "/"+initrd || !strings.Contains(found[0].What, "default") {
		t.Errorf("found %+v", found)
	}
}
