package shadow

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	"farshore/dataplane/disk/disktest"
	"farshore/dataplane/windows/drive"
	"farshore/dataplane/windows/vss"
	"farshore/fault"
)

const (
	windowsVolume = `\\?\Volume{1}\`
	dataVolume    = `\\?\Volume{2}\`
	efiVolume     = `\\?\Volume{3}\`
)

// server has a system drive with an EFI system partition and a data drive.
func server(t *testing.T) *machine {
	return newMachine(t, []int64{8 * mib, 4*mib + 512},
		place{name: windowsVolume, places: []drive.Place{{Drive: 0, Offset: 3 * mib, Length: 4*mib + 512}}},
		place{name: efiVolume, places: []drive.Place{{Drive: 0, Offset: mib, Length: mib}}, fat: true},
		place{name: dataVolume, places: []drive.Place{{Drive: 1, Offset: mib, Length: 3 * mib}}})
}

func (m *machine) snapshotter() *Snapshotter {
	return &Snapshotter{System: m, Open: m.service.Open, Now: m.service.Now}
}

func TestASnapshotShowsAllDisksAsTheyWereAtOneInstant(t *testing.T) {
	m := server(t)
	want := [][]byte{m.disk(0), m.disk(1)}
	shot, err := m.snapshotter().Take(t.Context(), m.devices, true)
	if err != nil {
		t.Fatal(err)
	}
	m.write(0, 3*mib+100, 2*mib) // life goes on in the volumes
	m.write(1, 4*mib-512, 512)
	for n := range m.devices {
		if !bytes.Equal(m.seen(n), want[n]) {
			t.Errorf("drive %d is not seen as it was", n)
		}
	}
	if changed, err := shot.Settled(t.Context()); changed != nil || err != nil {
		t.Errorf("Settled = %v, %v", changed, err)
	}
	if wall, boot := shot.Instant(); wall.IsZero() || boot <= 0 || shot.Note() != "" {
		t.Errorf("the instant is %v, %v; note %q", wall, boot, shot.Note())
	}
	if err := shot.Release(t.Context(), true); err != nil {
		t.Error(err)
	}
	if !bytes.Equal(m.seen(0), m.disk(0)) || bytes.Equal(m.disk(0), want[0]) {
		t.Error("behind the snapshot the drive is not seen as it is")
	}
	m.released()
	calls := strings.Join(m.service.Objects[0].Calls, " ")
	if !strings.Contains(calls, "bootable=true") || strings.Contains(calls, "AddToSnapshotSet "+efiVolume) {
		t.Errorf("calls: %s", calls)
	}
}

func TestWhatNoShadowCopyCoversMustNotChange(t *testing.T) {
	for name, at := range map[string]struct {
		drive  int
		offset int64
	}{"the partition table": {0, 0}, "the EFI system partition": {0, mib + 5000}, "a gap": {0, 2*mib + 512}, "the end": {1, 4 * mib}} {
		m := server(t)
		shot, err := m.snapshotter().Take(t.Context(), m.devices, false)
		if err != nil {
			t.Fatal(err)
		}
		m.write(at.drive, at.offset, 1)
		changed, err := shot.Settled(t.Context())
		if err != nil || changed == nil || changed.Code != "FS-1054" {
			t.Errorf("%s: Settled = %v, %v", name, changed, err)
		}
		if err := shot.Release(t.Context(), false); err != nil {
			t.Error(err)
		}
		m.released()
	}
}

// A change between the look at the disk and the snapshot is not hidden by the snapshot's being younger.
func TestAChangeJustBeforeTheSnapshotIsSeen(t *testing.T) {
	m := server(t)
	m.service.OnDo = func() {
		m.write(0, 512, 1)
		m.snap()
	}
	shot, err := m.snapshotter().Take(t.Context(), m.devices, true)
	if err != nil {
		t.Fatal(err)
	}
	if changed, err := shot.Settled(t.Context()); err != nil || changed == nil {
		t.Errorf("Settled = %v, %v; want a change", changed, err)
	}
	if err := shot.Release(t.Context(), false); err != nil {
		t.Error(err)
	}
	m.released()
}

func TestAVolumeInPiecesIsRefusedByItsName(t *testing.T) {
	m := newMachine(t, []int64{4 * mib, 4 * mib}, place{name: dataVolume, places: []drive.Place{{Drive: 0, Offset: mib, Length: mib}, {Drive: 1, Offset: mib, Length: mib}}})
	_, err := m.snapshotter().Take(t.Context(), m.devices[1:], false)
	if f, ok := fault.As(err); !ok || f.Code != "FS-1053" || !strings.Contains(f.Subject, dataVolume) {
		t.Errorf("Take = %v", err)
	}
	m.released()
}

func TestASnapshotThatCannotBeComposedIsGivenBack(t *testing.T) {
	for name, c := range map[string]struct {
		volume place
		cut    int64
		say    string
	}{
		"a shadow copy that is too short": {place{name: dataVolume, places: []drive.Place{{Offset: mib, Length: mib}}}, 512, "its shadow copy has"},
		"a volume over the end":           {place{name: dataVolume, places: []drive.Place{{Offset: 3 * mib, Length: 2 * mib}}}, 0, "do not fit"},
	} {
		m := newMachine(t, []int64{4 * mib}, c.volume)
		m.cut = c.cut
		shot, err := m.snapshotter().Take(t.Context(), m.devices, true)
		if f, ok := fault.As(err); shot != nil || !ok || f.Code != "FS-1053" || !strings.Contains(fmt.Sprint(err), c.say) {
			t.Errorf("%s: Take = %v, %v", name, shot, err)
		}
		m.released()
	}
}

func TestAnImageFileHasNoShadowCopies(t *testing.T) {
	m := newMachine(t, []int64{4 * mib}, place{name: dataVolume, places: []drive.Place{{Offset: mib, Length: mib}}})
	if err := os.Rename(drive.Path(0), "disk.img"); err != nil {
		t.Fatal(err)
	}
	m.devices[0] = disktest.Open(t, "disk.img")
	if _, err := m.snapshotter().Take(t.Context(), m.devices, false); err == nil || !strings.Contains(err.Error(), "FS-1053") {
		t.Errorf("Take = %v", err)
	}
	m.released()
}

func TestAFailedWriterIsInTheNoteAndTheSnapshotIsKept(t *testing.T) {
	m := server(t)
	m.service.Writers = []vss.Writer{{Name: "SqlServerWriter", State: 9, Result: 0x800423f4}}
	shot, err := m.snapshotter().Take(t.Context(), m.devices, true)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(shot.Note(), "SqlServerWriter") {
		t.Errorf("note %q", shot.Note())
	}
	if err := shot.Release(t.Context(), true); err != nil {
		t.Error(err)
	}
	m.released()
}

func TestACancelledSnapshotLeavesNothing(t *testing.T) {
	m := server(t)
	ctx, cancel := context.WithCancel(t.Context())
	m.service.OnDo = func() {
		m.snap()
		cancel()
	}
	shot, err := m.snapshotter().Take(ctx, m.devices, true)
	if err == nil { // it was complete before it was heard
		err = shot.Release(context.WithoutCancel(ctx), false)
		if err != nil {
			t.Error(err)
		}
	}
	m.released()
}
