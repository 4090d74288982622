package readiness_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"farshore/dataplane/readiness"
	"farshore/dataplane/readiness/initramfs/initramfstest"
	"farshore/dataplane/readiness/volume"
)

const (
	version  = "6.1.0-38-amd64"
	initrd   = "boot/initrd.img-" + version
	rootUUID = "5f0a9e5c-1d3b-4c8e-9b7a-fa25b0e00001"
	dataUUID = "5f0a9e5c-1d3b-4c8e-9b7a-fa25b0e00002"
	swapUUID = "5f0a9e5c-1d3b-4c8e-9b7a-fa25b0e00003"
)

// everything that some target wants, and what that needs.
var everything = []string{
	"hv_vmbus", "scsi_mod", "scsi_transport_fc", "hv_storvsc", "sd_mod", "vmw_pvscsi", "virtio", "virtio_pci", "virtio_blk", "virtio_scsi", "nvme", "ahci", "ext4",
}

// tree is a root file system made in memory.
type tree fstest.MapFS

func (t tree) put(name, content string) {
	t[name] = &fstest.MapFile{Data: []byte(content), Mode: 0o644}
}

func (t tree) link(name, to string) {
	t[name] = &fstest.MapFile{Data: []byte(to), Mode: 0o777 | fs.ModeSymlink}
}

// makeInitramfs makes an initramfs with these modules.
func (t tree) makeInitramfs(name string, modules []string) {
	files := map[string]string{"init": "#!/bin/sh"}
	for _, m := range modules {
		files["usr/lib/modules/x/kernel/"+strings.ReplaceAll(m, "_", "-")+".ko.xz"] = "code"
	}
	t.put(name, string(initramfstest.Archive(files)))
}

const grubMenu = `set default="0"
function savedefault { 
	true
}
menuentry 'Debian GNU/Linux' --class debian $menuentry_id_option 'gnulinux-simple' {
	search --no-floppy --fs-uuid --set=root ` + rootUUID + `
	linux	/boot/vmlinuz-` + version + ` root=UUID=` + rootUUID + ` ro quiet console=ttyS0
	initrd	/boot/initrd.img-` + version + `
}
submenu 'Advanced options' $menuentry_id_option 'advanced' {
	menuentry 'recovery' $menuentry_id_option 'recovery' {
		linux	/boot/vmlinuz-` + version + ` root=UUID=` + rootUUID + ` ro single
		initrd	/boot/initrd.img-` + version + `
	}
}
`

// ready is a Debian machine that starts anywhere.
func ready() (tree, readiness.Facts) {
	t := tree{}
	t.put("etc/debian_version", "12.11\n")
	t.put("etc/fstab", "# written by the installer\nUUID="+rootUUID+" / ext4 errors=remount-ro 0 1\nUUID="+swapUUID+"\tnone\tswap\tsw 0 0\n")
	t.put("etc/initramfs-tools/initramfs.conf", "MODULES=most\nCOMPRESS=zstd\n")
	t.put("etc/initramfs-tools/modules", "# List of modules\n")
	t.put("etc/network/interfaces", "auto lo\niface lo inet loopback\n")
	t.put("etc/default/grub", "GRUB_DEFAULT=0\nGRUB_CMDLINE_LINUX_DEFAULT=\"quiet\"\nGRUB_CMDLINE_LINUX=\"\"\n")
	t.put("boot/grub/grub.cfg", grubMenu)
	t.put("boot/vmlinuz-"+version, "kernel")
	t.put("boot/efi/EFI/BOOT/BOOTX64.EFI", "shim")
	t.put("boot/efi/EFI/debian/shimx64.efi", "shim")
	t.put("boot/efi/EFI/debian/grubx64.efi", "grub")
	for _, program := range []string{"usr/sbin/mkinitramfs", "usr/sbin/update-grub", "usr/bin/apt-get", "usr/bin/cloud-init", "usr/bin/vmtoolsd", "usr/sbin/qemu-ga"} {
		t.put(program, "program")
	}
	t.link("lib", "usr/lib")
	var dep strings.Builder
	for _, m := range append(slices.Clone(everything), "hv_netvsc", "vmxnet3", "virtio_net", "xfs") {
		below := map[string]string{"hv_storvsc": "kernel/hv-vmbus.ko kernel/scsi_transport_fc.ko kernel/scsi_mod.ko", "virtio_pci": "kernel/virtio.ko"}[m]
		fmt.Fprintf(&dep, "kernel/%s.ko: %s\n", m, below)
	}
	t.put("usr/lib/modules/"+version+"/modules.dep", dep.String())
	t.put("usr/lib/modules/"+version+"/modules.builtin", "kernel/loop.ko\n")
	t.makeInitramfs(initrd, everything)
	return t, readiness.Facts{
		Live: true, Firmware: "uefi", BootDiskName: "sda", BootDiskBytes: 64 << 30, Free: map[string]int64{"boot": 1 << 30},
		BootDisk: &volume.Table{Kind: volume.GPT, Partitions: []volume.Partition{{Number: 1, Type: volume.TypeESP}, {Number: 2}}},
		Devices: []readiness.Device{
			{Names: []string{"sda1"}, Boot: true, Number: 1, Volume: volume.Volume{Type: "vfat", UUID: "FA25-B0E2"}},
			{Names: []string{"sda2", "disk/by-id/ata-X-part2"}, Boot: true, Root: true, Number: 2, PartUUID: "abcd", Volume: volume.Volume{Type: "ext4", UUID: rootUUID}},
			{Names: []string{"sdb1"}, Volume: volume.Volume{Type: "xfs", UUID: dataUUID}},
			{Names: []string{"sda3"}, Boot: true, Number: 3, Volume: volume.Volume{Type: "swap", UUID: swapUUID}},
		},
	}
}

func view(t tree, f readiness.Facts) *readiness.Machine {
	return &readiness.Machine{Root: fstest.MapFS(t), Facts: f}
}

// find gives the findings of a code.
func find(findings []readiness.Finding, code readiness.Code) []readiness.Finding {
	return slices.DeleteFunc(slices.Clone(findings), func(f readiness.Finding) bool { return f.Code != code })
}

func TestAMachineThatIsReadyHasNothingButANote(t *testing.T) {
	root, facts := ready()
	for _, f := range readiness.Check(view(root, facts)) {
		if f.Code != readiness.Firmware || f.Severity != readiness.Note {
			t.Errorf("found %+v", f)
		}
	}
	if steps := readiness.Plan(view(root, facts), nil, readiness.Fixable()); len(steps) > 0 {
		t.Errorf("something is to be mended: %+v", steps)
	}
}

// scene is one thing that is not ready.
type scene struct {
	name     string
	spoil    func(root tree, facts *readiness.Facts)
	code     readiness.Code
	severity readiness.Severity
	targets  string
	says     string // in what, why or a command
	fixable  bool
}

func (s scene) play(t *testing.T) {
	root, facts := ready()
	s.spoil(root, &facts)
	found := find(readiness.Check(view(root, facts)), s.code)
	n := slices.IndexFunc(found, func(f readiness.Finding) bool {
		return f.Severity == s.severity && f.TargetList() == s.targets && f.Fixable == s.fixable &&
			strings.Contains(strings.Join(append([]string{f.Subject, f.What, f.Why}, f.Commands...), "\n"), s.says)
	})
	if n < 0 {
		t.Fatalf("found %+v, want %s for %s, fixable %v, that says %q", found, s.severity, s.targets, s.fixable, s.says)
	}
	if !s.fixable {
		return
	}
	steps := readiness.Plan(view(root, facts), nil, []readiness.Code{s.code})
	before := root.names()
	root.mend(t, steps)
	for _, step := range steps {
		if step.Code != s.code {
			t.Errorf("a step for another finding: %+v", step)
		}
	}
	if left := find(readiness.Check(view(root, facts)), s.code); len(left) > 0 {
		t.Errorf("after the steps %+v there is still %+v", steps, left)
	}
	if again := readiness.Plan(view(root, facts), nil, []readiness.Code{s.code}); len(again) > 0 {
		t.Errorf("mended twice: %+v", again)
	}
	if len(before) > len(root.names()) {
		t.Error("a step removed a file")
	}
}

func (t tree) names() []string {
	var all []string
	for name := range t {
		all = append(all, name)
	}
	return all
}

// mend does steps as package repair and the distribution's programs would.
func (t tree) mend(test *testing.T, steps []readiness.Step) {
	test.Helper()
	for _, s := range steps {
		switch {
		case s.Write != nil:
			t.put(s.Write.Path, string(s.Write.Content))
		case s.Copy != nil:
			t.put(s.Copy.To, string(t[s.Copy.From].Data))
		case s.Run[0] == "update-initramfs":
			t.makeInitramfs("boot/initrd.img-"+s.Run[3], slices.Concat([]string{"ext4", "virtio", "scsi_mod", "scsi_transport_fc"}, words(t["etc/initramfs-tools/modules"].Data)))
		case s.Run[0] == "dracut":
			t.makeInitramfs(strings.TrimPrefix(s.Run[2], "/"), slices.Concat([]string{"ext4", "virtio", "scsi_mod", "scsi_transport_fc"},
				words(bytes.Trim(bytes.TrimPrefix(bytes.TrimSpace(t["etc/dracut.conf.d/farshore.conf"].Data), []byte(`# so that this machine starts elsewhere (farshore-agent readiness)`+"\nadd_drivers+=")), `"`))))
		default:
			test.Errorf("an unexpected command: %v", s.Run)
		}
	}
}

func words(content []byte) []string {
	var all []string
	for line := range strings.SplitSeq(string(content), "\n") {
		if !strings.HasPrefix(line, "#") {
			all = append(all, strings.Fields(line)...)
		}
	}
	return all
}

const all = "azure,vmware,kvm,metal"

func without(drop ...string) []string {
	return slices.DeleteFunc(slices.Clone(everything), func(m string) bool { return slices.Contains(drop, m) })
}
