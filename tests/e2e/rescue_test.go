package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"farshore"
	"farshore/activities"
	stepsonnodes "farshore/activities/nodes"
	"farshore/dataplane/block"
	"farshore/dataplane/journal"
	"farshore/dataplane/segment"
	"farshore/dataplane/vault"
	"farshore/fault"
	"farshore/tests/blockwriter"
	"farshore/tests/lab/azurite"
	"farshore/tests/lab/guest/guesttest"
	"farshore/tests/lab/need"
	"farshore/tests/lab/site"
)

// The machine that comes home to bare metal, and its disk.
const (
	metalName = "metal-01"
	metalDisk = "sda"
)

// homecoming is a machine whose stream is in a vault, and the metal that it comes home to.
type homecoming struct {
	*metal
	site   *site.Site
	hub    *site.Hub
	source string // the machine's disk
	size   int64
	at     farshore.Position
}

// newHomecoming puts a machine's disk into a vault. It skips, loudly, where that cannot be done.
func newHomecoming(t *testing.T, image func(*testing.T, string) string, firmware farshore.Firmware) *homecoming {
	t.Helper()
	if testing.Short() {
		t.Skip("SKIPPED: -short: metal is booted to receive a machine")
	}
	needMetal(t)
	dir := t.TempDir()
	server, err := azurite.Start(t.Context(), azurite.Options{Dir: filepath.Join(dir, "azurite")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	account := filepath.Join(dir, "account.key")
	if err := os.WriteFile(account, []byte(server.Key), 0o600); err != nil {
		t.Fatal(err)
	}
	at := vault.Config{Kind: vault.KindAzblob, Endpoint: server.Endpoint, Account: server.Account, Credential: &vault.Credential{Kind: vault.SharedKey, KeyFile: account}}
	m := &homecoming{site: site.NewAt(t, dir, metalName, at), source: image(t, dir)}
	about, err := os.Stat(m.source)
	if err != nil {
		t.Fatal(err)
	}
	m.hub, m.size = m.site.Hub(), about.Size()
	m.metal = newMetal(t, dir, metalName, m.size, targetConfig(server, m.site.KeyFile, account))
	m.stream(firmware)
	return m
}

// stream writes the machine's disk into its stream, and what kind of machine it is.
func (m *homecoming) stream(firmware farshore.Firmware) {
	m.Helper()
	f, err := os.Open(m.source)
	if err != nil {
		m.Fatal(err)
	}
	defer f.Close()
	sectors := block.Count(m.size / block.SectorSize)
	ticket, err := journal.SignTicket(m.site.CA.Node(m, farshore.RoleAgent, metalName), journal.Ticket{
		Machine: metalName, Server: site.Server, Session: 1, Instance: "instance-1", Capture: "capture-1", BootID: "boot-1", NewGeneration: true,
		Disks: []journal.TicketDisk{{ID: metalDisk, Sectors: sectors}}, Time: time.Now(),
	})
	if err != nil {
		m.Fatal(err)
	}
	writer, _, err := journal.Claim(m.Context(), m.site.Writer(), ticket)
	if err != nil {
		m.Fatal(err)
	}
	spec := farshore.MachineSpec{
		ID: metalName, Hostname: metalName, OS: "linux", Firmware: firmware, CPUs: 1, MemoryBytes: 1 << 30,
		Disks: []farshore.DiskSpec{{ID: metalDisk, SizeBytes: uint64(m.size), Boot: true}},
	}
	if err := journal.PutSpec(m.Context(), m.site.Claims(), spec); err != nil {
		m.Fatal(err)
	}
	for at := int64(0); at < m.size; {
		at = m.segment(writer, f, sectors, at)
	}
	m.at = writer.Tip().Position
}

// segment writes one segment of what a disk holds from a place on, and gives the place behind it.
func (m *homecoming) segment(writer *journal.Writer, f *os.File, sectors block.Count, at int64) int64 {
	m.Helper()
	const piece, pieces = 64 << 10, 128
	var b segment.Builder
	lsn := writer.Tip().LastLSN
	first := lsn + 1
	for n := 0; n < pieces && at < m.size; at += piece {
		p := make([]byte, min(piece, m.size-at))
		if _, err := f.ReadAt(p, at); err != nil {
			m.Fatal(err)
		}
		if len(bytes.Trim(p, "\x00")) == 0 {
			continue
		}
		lsn++
		n++
		b.Add(segment.Record{Kind: block.Data, Extent: block.Extent{Start: block.Sector(at / block.SectorSize), Count: block.Count(len(p) / block.SectorSize)}, Data: p})
	}
	if lsn < first {
		return at
	}
	p, err := writer.Prepare(&b, segment.Header{
		FirstLSN: first, LastLSN: lsn, UTC: time.Now(), Disks: []segment.Disk{{ID: metalDisk, Sectors: sectors, Clean: true}},
	})
	if err == nil {
		err = writer.Commit(m.Context(), p)
	}
	if err != nil {
		m.Fatal(err)
	}
	return at
}

// image builds a rescue image that enrols with the hub, and gives its disk.
func (m *homecoming) image(name string) string {
	m.Helper()
	token, pin, err := m.hub.Registry().JoinToken(m.Context(), farshore.Identity{Role: farshore.RoleMasterTarget, Name: m.target()})
	if err != nil {
		m.Fatal(err)
	}
	return m.build(name, portOf(m.T, m.hub.Address), token, pin)
}

func (m *homecoming) steps() stepsonnodes.Steps {
	return stepsonnodes.Steps{Hub: m.hub.Registry(), Every: time.Second, Now: time.Now}
}

// comeHome brings the machine to its metal once, as the workflows do, and has a person agree at the console.
func (m *homecoming) comeHome(round int) {
	m.Helper()
	started := time.Now()
	vm := m.boot(fmt.Sprintf("rescue-%d", round), m.image(fmt.Sprintf("image-%d", round)))
	m.says(vm, "Ready: "+m.target())
	m.Logf("round %d: ready after %.0f s", round, time.Since(started).Seconds())
	steps := m.steps()
	run := activities.NewRun(activities.ReprotectRun, metalName, fmt.Sprintf("op-%d", round))
	home := farshore.Home{Kind: farshore.HomeDevice, MasterTarget: m.target(), Disks: map[farshore.DiskID]string{metalDisk: metalPath}}
	spec, err := m.site.Reader().Spec(m.Context(), metalName)
	if err != nil {
		m.Fatal(err)
	}
	step(m.T, steps, activities.ChooseMasterTarget, activities.ChooseMasterTargetIn{Run: run, Machine: spec, Home: home})
	sinks := activities.SinksIn{Run: run, MasterTarget: m.target(), Sinks: []activities.Sink{
		{Disk: metalDisk, Kind: farshore.HomeDevice, Path: metalPath, SizeBytes: uint64(m.size)},
	}}
	answered := m.agree(vm)
	step(m.T, steps, activities.OpenSinks, sinks)
	<-answered
	out := step(m.T, steps, activities.FinishSinks, activities.FinishSinksIn{Run: run, MasterTarget: m.target(), Position: m.at})
	if out.DifferentBytes != 0 || out.ComparedBytes == 0 {
		m.Errorf("round %d: finished as %+v", round, out)
	}
	step(m.T, steps, activities.CloseSinks, sinks)
	console := m.lands(vm)
	m.Logf("round %d: home after %.0f s\n%s", round, time.Since(started).Seconds(), console)
}

// hello is what the small machine's boot loader says.
const hello = "The machine has started from its own disk"

// smallMachine is a disk that is no more than a boot loader in the folder of a distribution: the fallback path is not there.
func smallMachine(t *testing.T, dir string) string {
	t.Helper()
	disk, config, loader := filepath.Join(dir, "small.img"), filepath.Join(dir, "small.cfg"), filepath.Join(dir, "small.efi")
	script := "serial --unit=0 --speed=115200\nterminal_output serial\necho\necho \"" + hello + "\"\nsleep 3\nhalt\n"
	if err := errors.Join(os.WriteFile(config, []byte(script), 0o600), os.WriteFile(disk, nil, 0o600), os.Truncate(disk, 24<<20)); err != nil {
		t.Fatal(err)
	}
	inside := disk + "@@1M"
	for _, step := range [][]string{
		{"grub-mkimage", "-O", "x86_64-efi", "-o", loader, "-p", "/EFI/debian", "-c", config, "part_gpt", "fat", "normal", "serial", "terminal", "echo", "sleep", "halt"},
		{"sgdisk", "--new=1:2048:40959", "--typecode=1:ef00", disk},
		{"mkfs.vfat", "-F", "16", "--offset=2048", disk, "19456"},
		{"mmd", "-i", inside, "::/EFI", "::/EFI/debian"},
		{"mcopy", "-i", inside, loader, "::/EFI/debian/grubx64.efi"},
	} {
		if _, err := need.Run(t.Context(), step[0], step[1:]...); err != nil {
			t.Fatal(err)
		}
	}
	return disk
}

// The short form is one restore onto blank metal; the long one goes on over what the restores before have left there.
func TestAMachineComesHomeToBlankMetalAndStarts(t *testing.T) {
	m := newHomecoming(t, smallMachine, farshore.UEFI)
	rounds := 1
	if os.Getenv("RESCUE") != "" {
		rounds = 3
	}
	for round := 1; round <= rounds; round++ {
		m.comeHome(round)
		m.wantOneEntry(fmt.Sprintf("round %d", round))
		vm := m.boot(fmt.Sprintf("home-%d", round), "")
		m.says(vm, hello)
		vm.Stop()
	}
}

// guestMachine is the lab's whole guest.
func guestMachine(t *testing.T, _ string) string { return guesttest.Image(t) }

// TestAGuestComesHomeToMetalThreeTimes is the long form: a whole system, three times onto the same metal, which is started by
// its own entry each time and says that its disk is right.
func TestAGuestComesHomeToMetalThreeTimes(t *testing.T) {
	if os.Getenv("RESCUE") == "" {
		t.Skip("SKIPPED: a guest is restored three times, which takes minutes each; run: make rescue")
	}
	m := newHomecoming(t, guestMachine, farshore.UEFI)
	for round := 1; round <= 3; round++ {
		m.comeHome(round)
		m.wantOneEntry(fmt.Sprintf("round %d", round))
		vm := m.boot(fmt.Sprintf("home-%d", round), "")
		m.says(vm, blockwriter.ConsolePrefix+`.*"ok":true.*}$`)
		m.says(vm, `login: ?$`)
		vm.Stop()
		m.Logf("round %d: the guest is up", round)
	}
}

// The machine started by BIOS and the metal is UEFI: nothing is asked and nothing is written.
func TestMetalOfOtherFirmwareIsNotWritten(t *testing.T) {
	if os.Getenv("RESCUE") == "" {
		t.Skip("SKIPPED: another boot of a rescue image; the refusal itself is in dataplane/rescue; run: make rescue")
	}
	m := newHomecoming(t, smallMachine, farshore.BIOS)
	vm := m.boot("rescue-1", m.image("image-1"))
	m.says(vm, "Ready: "+m.target())
	run := activities.NewRun(activities.ReprotectRun, metalName, "op-1")
	_, err := try(m.T, m.steps(), activities.OpenSinks, activities.SinksIn{Run: run, MasterTarget: m.target(), Sinks: []activities.Sink{
		{Disk: metalDisk, Kind: farshore.HomeDevice, Path: metalPath, SizeBytes: uint64(m.size), Overwrite: true},
	}})
	if f, ok := fault.As(err); !ok || f.Code != "FS-4123" {
		t.Errorf("OpenSinks = %v", err)
	}
	vm.Stop()
	if raw, err := os.ReadFile(m.disk); err != nil || len(bytes.Trim(raw, "\x00")) > 0 {
		t.Errorf("the metal's disk was written (%v)", err)
	}
}
