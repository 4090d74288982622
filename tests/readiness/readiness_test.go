package readiness

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"testing"

	"farshore/dataplane/readiness"
	"farshore/dataplane/readiness/repair"
	"farshore/tests/lab/guest"
	"farshore/tests/lab/guest/guesttest"
	"farshore/tests/lab/need"
	"farshore/tests/lab/qemu"
)

// asked is how much is to be done: "" the short form, "long" spoils and mends copies, "boot" boots them as well.
func asked() string { return os.Getenv("READINESS") }

// agent builds the agent.
func agent(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "farshore-agent")
	c := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-o", path, "farshore/cmd/farshore-agent")
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return path
}

// examine runs the agent's own command on a root.
func examine(t *testing.T, program, root string) (findings []readiness.Finding, code int) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), program, "readiness", "--root", root, "-o", "json").Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	var answer struct{ Findings []readiness.Finding }
	if err := json.Unmarshal(out, &answer); err != nil {
		t.Fatalf("%v: %s\n%s", err, out, exit.Stderr)
	}
	if exit != nil {
		code = exit.ExitCode()
	}
	return answer.Findings, code
}

// codes gives severity, code and targets of findings, without notes.
func codes(findings []readiness.Finding) []string {
	var all []string
	for _, f := range findings {
		if f.Severity != readiness.Note {
			all = append(all, string(f.Severity)+" "+string(f.Code)+" "+f.TargetList())
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// asBuilt is what the guest is found to be: Debian's cloud kernel has no driver for SATA, and that is all.
var asBuilt = []string{"degrades kernel-drivers metal"}

func TestTheGuestIsReadyAsItsImageIs(t *testing.T) {
	path, program := guesttest.Image(t), agent(t)
	at := t.TempDir()
	offset := strconv.FormatInt(beginning(t, path, guest.RootPartition), 10)
	if _, err := need.Run(t.Context(), "mount", "-o", "ro,noload,loop,offset="+offset, path, at); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unmount(t, at) })
	found, code := examine(t, program, at)
	if got := codes(found); !slices.Equal(got, asBuilt) || code != 0 {
		t.Errorf("found %q and exit code %d, want %q and 0", got, code, asBuilt)
	}
	for _, want := range []readiness.Code{readiness.ESPUnseen, readiness.Firmware, readiness.GuestAgent} {
		if !slices.ContainsFunc(found, func(f readiness.Finding) bool { return f.Code == want && f.Severity == readiness.Note }) {
			t.Errorf("no note %s", want)
		}
	}
	entries, err := os.ReadDir(filepath.Join(at, "boot"))
	if err != nil || len(entries) == 0 {
		t.Errorf("the root was not mounted: %v", err)
	}
}

// espPartition is the number of the EFI system partition of the guest's image.
const espPartition = 2

// beginning finds where a partition begins.
func beginning(t *testing.T, path string, number int) int64 {
	t.Helper()
	out, err := need.Run(t.Context(), "sgdisk", "--info="+strconv.Itoa(number), path)
	if err != nil {
		t.Fatal(err)
	}
	first := regexp.MustCompile(`First sector: (\d+)`).FindStringSubmatch(out)
	if first == nil {
		t.Fatalf("no first sector in %s", out)
	}
	sector, err := strconv.ParseInt(first[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return sector * 512
}

func unmount(t *testing.T, at string) {
	t.Helper()
	if _, err := need.Run(context.WithoutCancel(t.Context()), "umount", at); err != nil {
		t.Error(err)
	}
}

// copied is a copy of the guest whose root, with everything that its own tools need, is mounted.
type copied struct {
	t     *testing.T
	disk  *guest.Disk
	efi   string   // folder in the place of the EFI system partition
	inner []string // mounts below the root, in the order of mounting
}

func attach(t *testing.T, path string) *copied {
	t.Helper()
	t.Cleanup(func() {
		if err := guest.Release(context.WithoutCancel(t.Context()), path); err != nil {
			t.Error(err)
		}
	})
	disk, err := guest.Attach(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	c := &copied{t: t, disk: disk}
	t.Cleanup(c.unmount)
	c.mount("--bind", "/dev", "dev")
	c.mount("-tproc", "proc", "proc")
	c.pull()
	c.mount("--bind", c.efi, "boot/efi")
	return c
}

// pull puts the files of the EFI system partition into a folder that is mounted in its place: not every kernel that tests run on knows FAT.
func (c *copied) pull() {
	c.t.Helper()
	c.efi = c.t.TempDir()
	if _, err := need.Run(c.t.Context(), "mcopy", "-s", "-n", "-i", c.partition(), "::/EFI", c.efi); err != nil {
		c.t.Fatal(err)
	}
}

// push writes the folder back.
func (c *copied) push() {
	c.t.Helper()
	for _, step := range [][]string{{"mdeltree", "-i", c.partition(), "::/EFI"}, {"mcopy", "-s", "-i", c.partition(), c.efi + "/EFI", "::/"}} {
		if _, err := need.Run(c.t.Context(), step[0], step[1:]...); err != nil {
			c.t.Fatal(err)
		}
	}
}

func (c *copied) partition() string {
	return c.disk.Image + "@@" + strconv.FormatInt(beginning(c.t, c.disk.Image, espPartition), 10)
}

func (c *copied) mount(option, from, to string) {
	c.t.Helper()
	at := filepath.Join(c.disk.Root, to)
	if _, err := need.Run(c.t.Context(), "mount", option, from, at); err != nil {
		c.t.Fatal(err)
	}
	c.inner = append(c.inner, at)
}

// unmount undoes what mount did. Calling it again does nothing.
func (c *copied) unmount() {
	for _, at := range slices.Backward(c.inner) {
		unmount(c.t, at)
	}
	c.inner = nil
}

// detach makes the copy a file again, which can be booted.
func (c *copied) detach() {
	c.t.Helper()
	c.unmount()
	if err := c.disk.Detach(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
	c.push()
}

// in runs a command line inside the copy.
func (c *copied) in(command string) {
	c.t.Helper()
	if out, err := exec.CommandContext(c.t.Context(), "chroot", c.disk.Root, "/bin/sh", "-ec", command).CombinedOutput(); err != nil {
		c.t.Fatalf("%s: %v\n%s", command, err, out)
	}
}

// spoil does what installers and administrators do: an initramfs for the hardware of the day, names instead of UUIDs, and a boot loader that
// only this machine's firmware knows.
func (c *copied) spoil() {
	c.t.Helper()
	c.in(`
rm -f /etc/initramfs-tools/conf.d/lab; printf 'MODULES=list\nCOMPRESS=lz4\nRESUME=none\n' > /etc/initramfs-tools/conf.d/lab
printf 'ata_piix\nata_generic\nsd_mod\next4\n' > /etc/initramfs-tools/modules
update-initramfs -u -k all
sed -i 's|^UUID=[^ ]* / |/dev/sda3 / |' /etc/fstab
sed -i 's|root=UUID=[^ ]*|root=/dev/sda3|' /boot/grub/grub.cfg
mkdir /boot/efi/EFI/debian; mv /boot/efi/EFI/BOOT/BOOTX64.EFI /boot/efi/EFI/debian/grubx64.efi; rmdir /boot/efi/EFI/BOOT
`)
}

// spoiled is what must be found then, besides what the guest is found to be.
var spoiled = []string{
	"blocks cmdline-device-name azure,vmware,kvm,metal", "blocks efi-fallback azure,vmware,kvm,metal", "blocks fstab-device-name azure,vmware,kvm,metal",
	"blocks initramfs-drivers azure", "blocks initramfs-drivers kvm", "blocks initramfs-drivers vmware", "degrades kernel-drivers metal",
}

func (c *copied) expect(program string, want []string, wantCode int) []readiness.Finding {
	c.t.Helper()
	found, code := examine(c.t, program, c.disk.Root)
	if got := codes(found); !slices.Equal(got, want) || code != wantCode {
		c.t.Errorf("found %q and exit code %d, want %q and %d", got, code, want, wantCode)
	}
	return found
}

func TestWhatSpoilsTheGuestIsFoundAndMended(t *testing.T) {
	if asked() == "" {
		t.Skip("SKIPPED: READINESS=long copies, spoils and mends the guest, and READINESS=boot boots it before and after")
	}
	original, program := guesttest.Image(t), agent(t)
	path := filepath.Join(t.TempDir(), "disk.img")
	if err := guest.Copy(t.Context(), original, path); err != nil {
		t.Fatal(err)
	}
	c := attach(t, path)
	c.expect(program, asBuilt, 0)
	c.spoil()
	found := c.expect(program, spoiled, 1)
	c.detach()
	boots(t, path, qemu.BIOS, regexp.MustCompile(`ALERT!.*does not exist`))

	// By hand: the commands of each finding, as they are shown.
	byHand := filepath.Join(t.TempDir(), "by-hand.img")
	if err := guest.Copy(t.Context(), path, byHand); err != nil {
		t.Fatal(err)
	}
	c = attach(t, byHand)
	var done []string
	for _, f := range found {
		if !f.Fixable {
			continue
		}
		for _, command := range f.Commands {
			if !slices.Contains(done, command) {
				c.in(command)
				done = append(done, command)
			}
		}
	}
	c.expect(program, asBuilt, 0)
	c.detach()

	// By the agent.
	c = attach(t, path)
	before := c.read("etc/fstab")
	c.fix(program, 0)
	c.expect(program, asBuilt, 0)
	if kept := c.read("etc/fstab" + repair.Kept); kept != before {
		t.Errorf("kept %q, want %q", kept, before)
	}
	c.fix(program, 11) // there is nothing left to mend
	c.detach()
	boots(t, path, qemu.UEFI, regexp.MustCompile(`login: ?$`))
}

func (c *copied) read(name string) string {
	c.t.Helper()
	raw, err := os.ReadFile(filepath.Join(c.disk.Root, name))
	if err != nil {
		c.t.Fatal(err)
	}
	return string(raw)
}

// fix runs the agent's own command, which must end with an exit code.
func (c *copied) fix(program string, want int) {
	c.t.Helper()
	out, err := exec.CommandContext(c.t.Context(), program, "readiness", "fix", "--all", "--yes", "--root", c.disk.Root).CombinedOutput()
	var exit *exec.ExitError
	code := 0
	if errors.As(err, &exit) {
		code = exit.ExitCode()
	}
	if code != want || err != nil && exit == nil {
		c.t.Errorf("readiness fix: %v, want exit code %d\n%s", err, want, out)
	}
}

// boots starts a disk on virtio and waits for a line.
func boots(t *testing.T, path string, firmware qemu.Firmware, want *regexp.Regexp) {
	t.Helper()
	if asked() != "boot" {
		return
	}
	if err := qemu.Missing(); err != nil {
		t.Errorf("not booted: %v", err)
		return
	}
	vm, err := qemu.Boot(t.Context(), qemu.Machine{
		Firmware: firmware, SerialLog: filepath.Join(t.TempDir(), "serial.log"), Disks: []qemu.Disk{{Path: path, Bus: qemu.Virtio, Snapshot: true}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer vm.Stop()
	line, err := vm.WaitFor(t.Context(), want)
	if err != nil {
		t.Error(err)
	}
	t.Logf("the guest said %q", line)
}
