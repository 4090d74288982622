package vss_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"farshore/dataplane/windows/vss"
	"farshore/dataplane/windows/vss/vsstest"
	"farshore/fault"
)

const (
	system = `\\?\Volume{1}\`
	data   = `\\?\Volume{2}\`
	loader = `\\?\Volume{3}\` // FAT: no shadow copies
)

var everything = vss.Request{Volumes: []string{system, data}, Applications: true, Bootable: true}

// settled checks what must be so however a set came to its end.
func settled(t *testing.T, s *vsstest.Service) {
	t.Helper()
	for _, bad := range s.BadOrder {
		t.Errorf("a call out of order: %s", bad)
	}
	for i, r := range s.Objects {
		if !r.Released || r.Live != 0 || r.Waiting != 0 {
			t.Errorf("object %d: released %v, shadow copies left %d, operations left %d; calls: %v", i, r.Released, r.Live, r.Waiting, r.Calls)
		}
	}
}

func TestASetWithApplicationsGoesTheWholeWay(t *testing.T) {
	s := &vsstest.Service{Writers: []vss.Writer{{Name: "SqlServerWriter", State: 5}, {Name: "Registry Writer", State: 1}}}
	set, err := vss.Take(t.Context(), s.Open, s.Now, everything)
	if err != nil {
		t.Fatal(err)
	}
	if set.Note != "" || len(set.Skipped) != 0 || set.At.IsZero() ||
		set.Devices[system] != `\\?\GLOBALROOT\Device\HarddiskVolumeShadowCopy1` || set.Devices[data] != `\\?\GLOBALROOT\Device\HarddiskVolumeShadowCopy2` {
		t.Errorf("the set: %+v", set)
	}
	if err := set.Release(t.Context(), true); err != nil {
		t.Error(err)
	}
	want := []string{
		"InitializeForBackup", "SetContext 0x0", "SetBackupState bootable=true", "GatherWriterMetadata", "FreeWriterMetadata", "StartSnapshotSet",
		"IsVolumeSupported " + system, "AddToSnapshotSet " + system, "IsVolumeSupported " + data, "AddToSnapshotSet " + data,
		"PrepareForBackup", "DoSnapshotSet", "GatherWriterStatus", "GetWriterStatus", "FreeWriterStatus",
	}
	diary := s.Objects[0].Calls
	if got := strings.Join(diary[:len(want)], "\n"); got != strings.Join(want, "\n") {
		t.Errorf("calls:\n%s\nwant:\n%s", got, strings.Join(want, "\n"))
	}
	if got := strings.Join(diary[len(diary)-3:], " "); got != "BackupComplete DeleteSnapshots Release" {
		t.Errorf("the end: %s", got)
	}
	settled(t, s)
}

func TestASetWithoutApplicationsAsksNoWriter(t *testing.T) {
	s := &vsstest.Service{}
	set, err := vss.Take(t.Context(), s.Open, s.Now, vss.Request{Volumes: []string{data}})
	if err != nil {
		t.Fatal(err)
	}
	if err := set.Release(t.Context(), true); err != nil {
		t.Error(err)
	}
	calls := strings.Join(s.Objects[0].Calls, " ")
	if strings.Contains(calls, "Writer") || strings.Contains(calls, "PrepareForBackup") || strings.Contains(calls, "BackupComplete") {
		t.Errorf("a writer was asked: %s", calls)
	}
	settled(t, s)
}

func TestAWriterThatFailedMakesTheSetLessAndIsNamed(t *testing.T) {
	s := &vsstest.Service{Writers: []vss.Writer{{Name: "Registry Writer", State: 5}, {Name: "SqlServerWriter", State: 9, Result: 0x800423f4}}}
	set, err := vss.Take(t.Context(), s.Open, s.Now, everything)
	if err != nil {
		t.Fatal(err)
	}
	for _, say := range []string{"FS-1052", "SqlServerWriter", "holding its writes", "0x800423f4"} {
		if !strings.Contains(set.Note, say) {
			t.Errorf("the note %q does not say %q", set.Note, say)
		}
	}
	if len(set.Devices) != 2 || len(s.Objects) != 1 {
		t.Errorf("the set was not kept: %v, %d objects", set.Devices, len(s.Objects))
	}
	if err := set.Release(t.Context(), true); err != nil {
		t.Error(err)
	}
	settled(t, s)
}

func TestWritersThatStandInTheWayAreLeftOut(t *testing.T) {
	denied := vss.HRESULT(0x80070005)
	for name, s := range map[string]*vsstest.Service{
		"no metadata":            {Fail: map[string]error{"GatherWriterMetadata": denied}},
		"metadata fails later":   {Ends: map[string]vss.HRESULT{"GatherWriterMetadata": 0x80042318}},
		"a writer does not stop": {Hangs: "PrepareForBackup"},
		"no state":               {Fail: map[string]error{"SetBackupState": denied}},
		"cannot prepare":         {Fail: map[string]error{"PrepareForBackup": denied}},
		"cancelled by somebody":  {Ends: map[string]vss.HRESULT{"PrepareForBackup": vsstest.Cancelled}},
	} {
		set, err := vss.Take(t.Context(), s.Open, s.Now, everything)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if set.Note == "" || len(set.Devices) != 2 || len(s.Objects) != 2 || s.Objects[1].Context != vss.WithoutWriters {
			t.Errorf("%s: %+v, objects %d", name, set, len(s.Objects))
		}
		if err := set.Release(t.Context(), true); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		settled(t, s)
	}
}

func TestWritersThatDoNotSayHowTheyFaredCountAsFailed(t *testing.T) {
	for name, s := range map[string]*vsstest.Service{
		"not asked":    {Fail: map[string]error{"GatherWriterStatus": vss.HRESULT(0x80042302)}},
		"never answer": {Hangs: "GatherWriterStatus"},
		"no status":    {Fail: map[string]error{"GetWriterStatus": vss.HRESULT(0x80042302)}},
	} {
		set, err := vss.Take(t.Context(), s.Open, s.Now, everything)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !strings.Contains(set.Note, "did not say") {
			t.Errorf("%s: note %q", name, set.Note)
		}
		if err := set.Release(t.Context(), true); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		settled(t, s)
	}
}

// Whatever call fails, in a set without applications there is a fault, and nothing is left behind.
func TestASnapshotThatCannotBeMadeIsAFaultAndLeavesNothing(t *testing.T) {
	for _, applications := range []bool{false, true} {
		for name := range map[string]bool{
			"InitializeForBackup": true, "SetContext": true, "StartSnapshotSet": true, "IsVolumeSupported": true, "AddToSnapshotSet": true,
			"DoSnapshotSet": true, "GetSnapshotProperties": true,
		} {
			s := &vsstest.Service{Fail: map[string]error{name: vss.HRESULT(0x80042316)}}
			set, err := vss.Take(t.Context(), s.Open, s.Now, vss.Request{Volumes: []string{system}, Applications: applications})
			f, ok := fault.As(err)
			if set != nil || !ok || f.Code != "FS-1051" || !strings.Contains(fmt.Sprint(err), "another program") {
				t.Errorf("%s fails, applications %v: %v, %v", name, applications, set, err)
			}
			settled(t, s)
		}
	}
	s := &vsstest.Service{Ends: map[string]vss.HRESULT{"DoSnapshotSet": 0x80042314}}
	if _, err := vss.Take(t.Context(), s.Open, s.Now, everything); err == nil || !strings.Contains(err.Error(), "held for so long") {
		t.Errorf("the snapshot fails: %v", err)
	}
	settled(t, s)
}

func TestASnapshotThatTakesTooLongIsCancelled(t *testing.T) {
	s := &vsstest.Service{Hangs: "DoSnapshotSet"}
	_, err := vss.Take(t.Context(), s.Open, s.Now, vss.Request{Volumes: []string{system}})
	if err == nil || !strings.Contains(err.Error(), "longer than") {
		t.Errorf("Take = %v", err)
	}
	if !strings.Contains(strings.Join(s.Objects[0].Calls, " "), "Cancel DoSnapshotSet AbortBackup") {
		t.Errorf("calls: %v", s.Objects[0].Calls)
	}
	settled(t, s)
}

func TestACallerThatGoesIsHeardAtEveryStep(t *testing.T) {
	for _, step := range []string{"GatherWriterMetadata", "PrepareForBackup", "DoSnapshotSet", "GatherWriterStatus"} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			s := &vsstest.Service{Hangs: step}
			s.OnStatus = func() {
				if s.Objects[len(s.Objects)-1].Did[step] {
					cancel()
				}
			}
			if set, err := vss.Take(ctx, s.Open, s.Now, everything); set != nil || !errors.Is(err, context.Canceled) {
				t.Errorf("%s: Take = %v, %v", step, set, err)
			}
			if len(s.Objects) != 1 {
				t.Errorf("%s: it was tried again %d times", step, len(s.Objects)-1)
			}
			settled(t, s)
		})
	}
}

func TestVolumesWithoutShadowCopiesAreLeftOut(t *testing.T) {
	s := &vsstest.Service{Unable: map[string]bool{loader: true}}
	set, err := vss.Take(t.Context(), s.Open, s.Now, vss.Request{Volumes: []string{loader, data}})
	if err != nil || len(set.Skipped) != 1 || set.Skipped[0] != loader || len(set.Devices) != 1 {
		t.Fatalf("Take = %+v, %v", set, err)
	}
	if err := set.Release(t.Context(), true); err != nil {
		t.Error(err)
	}
	set, err = vss.Take(t.Context(), s.Open, s.Now, vss.Request{Volumes: []string{loader}, Applications: true})
	if err != nil || len(set.Devices) != 0 || set.At.IsZero() {
		t.Fatalf("a set of nothing: %+v, %v", set, err)
	}
	if err := set.Release(t.Context(), true); err != nil {
		t.Error(err)
	}
	settled(t, s)
}

func TestWithoutTheServiceThereIsAFaultOfItsOwn(t *testing.T) {
	s := &vsstest.Service{Refuse: vss.HRESULT(0x80070005)}
	_, err := vss.Take(t.Context(), s.Open, s.Now, everything)
	if f, ok := fault.As(err); !ok || f.Code != "FS-1050" || !errors.Is(err, vss.HRESULT(0x80070005)) {
		t.Errorf("Take = %v", err)
	}
}

func TestACopyThatWasGivenUpIsNotReportedAsComplete(t *testing.T) {
	s := &vsstest.Service{}
	set, err := vss.Take(t.Context(), s.Open, s.Now, everything)
	if err != nil {
		t.Fatal(err)
	}
	if err := set.Release(t.Context(), false); err != nil {
		t.Error(err)
	}
	calls := strings.Join(s.Objects[0].Calls, " ")
	if strings.Contains(calls, "BackupComplete") || !strings.Contains(calls, "AbortBackup DeleteSnapshots Release") {
		t.Errorf("calls: %s", calls)
	}
	settled(t, s)
}

func TestAnEndThatFailsIsSaidAndEverythingIsReleased(t *testing.T) {
	s := &vsstest.Service{Fail: map[string]error{"DeleteSnapshots": vss.HRESULT(0x80042302)}, Ends: map[string]vss.HRESULT{"BackupComplete": 0x80042319}}
	set, err := vss.Take(t.Context(), s.Open, s.Now, everything)
	if err != nil {
		t.Fatal(err)
	}
	err = set.Release(t.Context(), true)
	if !errors.Is(err, vss.HRESULT(0x80042302)) || !errors.Is(err, vss.HRESULT(0x80042319)) {
		t.Errorf("Release = %v", err)
	}
	settled(t, s)
}
