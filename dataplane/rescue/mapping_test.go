package rescue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"farshore"
	"farshore/dataplane/mastertarget"
	"farshore/dataplane/sink"
	"farshore/fault"
)

const gibSectors = 1 << 21

var machine = farshore.MachineSpec{ID: "web-01", Firmware: farshore.UEFI, Disks: []farshore.DiskSpec{{ID: "data", SizeBytes: 100 * gib}, {ID: "boot", SizeBytes: 20 * gib}}}

func TestAnEmptyDiskIsProposedBeforeOneThatHoldsSomething(t *testing.T) {
	old := Disk{Path: "/dev/disk/by-id/old", Bytes: 120 * gib, Holds: "a GUID partition table"}
	large := Disk{Path: "/dev/disk/by-id/large", Bytes: 500 * gib}
	small := Disk{Path: "/dev/disk/by-id/small", Bytes: 32 * gib}
	short := Disk{Path: "/dev/disk/by-id/short", Bytes: 20*gib - 512}
	rows := []struct {
		name  string
		disks []Disk
		want  string
	}{
		{"room beside the old disk", []Disk{old, large, small}, "boot small, data large"},
		{"no room", []Disk{old, small}, "boot small, data old"},
		{"one disk", []Disk{old}, "data old"},
		{"a disk that is short by a sector", []Disk{large, short}, "boot short, data large"},
		{"none", nil, ""},
	}
	for _, row := range rows {
		var got []string
		for id, d := range Propose(machine, row.disks) {
			got = append(got, string(id)+" "+strings.TrimPrefix(d.Path, "/dev/disk/by-id/"))
		}
		slices.Sort(got)
		if text := strings.Join(got, ", "); text != row.want {
			t.Errorf("%s: proposed %q, want %q", row.name, text, row.want)
		}
	}
}

func TestAProposalIsAHomeFile(t *testing.T) {
	text := HomeFile("rescue-web-01", machine, map[farshore.DiskID]Disk{"boot": {Path: "/dev/disk/by-id/small"}})
	want := "kind: device\nmasterTarget: rescue-web-01\ndisks:\n  # \"data\": no disk of 100.0 GiB is there\n  \"boot\": /dev/disk/by-id/small\n"
	if text != want {
		t.Errorf("got\n%s\nwant\n%s", text, want)
	}
}

// person answers questions at a console, and keeps what was said there.
type person struct {
	answers []string
	said    strings.Builder
}

func (p *person) Say(format string, args ...any) { fmt.Fprintf(&p.said, format+"\n", args...) }

func (p *person) Ask(ctx context.Context, question string) (string, error) {
	p.Say("%s", question)
	if len(p.answers) == 0 {
		<-ctx.Done()
		return "", ctx.Err()
	}
	a := p.answers[0]
	p.answers = p.answers[1:]
	return a, nil
}

// metal is an attendant of a machine whose disks are /dev/disk/by-id/a, which holds something, and b.
func metal(p *person, started farshore.Firmware) *Attendant {
	return &Attendant{
		Machine: "web-01", Console: p, Started: started, Log: slog.New(slog.DiscardHandler),
		Spec: func(context.Context, farshore.MachineID) (farshore.MachineSpec, error) { return machine, nil },
		Disks: func() ([]Disk, error) {
			return []Disk{{Path: "/dev/disk/by-id/a", Bytes: 40 * gib, Model: "SAMSUNG", Serial: "S1", Holds: "a GUID partition table"}, {Path: "/dev/disk/by-id/b", Bytes: 30 * gib}}, nil
		},
	}
}

func home(run string, overwrite bool) mastertarget.Machine {
	return mastertarget.Machine{Machine: "web-01", Run: farshore.RunID(run), Sinks: []sink.Sink{
		{Disk: "boot", Kind: farshore.HomeDevice, Path: "/dev/disk/by-id/a", Sectors: 20 * gibSectors, Overwrite: overwrite},
	}}
}

// code gives that of a fault.
func code(t *testing.T, err error) string {
	t.Helper()
	f, ok := fault.As(err)
	if !ok && err != nil {
		t.Fatalf("%v is no fault", err)
	}
	if f == nil {
		return ""
	}
	return f.Code
}

func TestNothingIsWrittenBeforeAPersonHasSeenTheMapping(t *testing.T) {
	p := &person{answers: []string{"web-01"}}
	a := metal(p, farshore.UEFI)
	var waited []string
	waits := func(f *fault.Fault) { waited = append(waited, f.Code) }
	sinks, err := a.Consent(t.Context(), home("r1", false), waits)
	if err != nil || len(sinks) != 1 || !sinks[0].Overwrite {
		t.Fatalf("Consent = %+v, %v", sinks, err)
	}
	for _, word := range []string{"SAMSUNG", "S1", "A GUID PARTITION TABLE", "40.0 GiB", "These stay as they are", "/dev/disk/by-id/b"} {
		if !strings.Contains(p.said.String(), word) {
			t.Errorf("%q was not shown:\n%s", word, p.said.String())
		}
	}
	if !slices.Equal(waited, []string{"FS-4121"}) {
		t.Errorf("the desk was told %v while nobody had answered", waited)
	}
	if _, err := a.Consent(t.Context(), home("r1", false), waits); err != nil || len(waited) != 1 {
		t.Errorf("the same question was asked twice: %v, %v", err, waited)
	}
}

func TestAMappingThatIsNotAgreedToIsRefusedForGood(t *testing.T) {
	for _, word := range []string{"n", "y", "yes", "WEB-01", "web-02"} {
		p := &person{answers: []string{word, "web-01"}}
		a := metal(p, farshore.UEFI)
		for range 2 { // a master target asks again after a while: that is no new question
			if sinks, err := a.Consent(t.Context(), home("r1", false), func(*fault.Fault) {}); code(t, err) != "FS-4122" || sinks != nil {
				t.Errorf("%q: Consent = %+v, %v", word, sinks, err)
			}
		}
		if _, err := a.Consent(t.Context(), home("r2", false), func(*fault.Fault) {}); err != nil {
			t.Errorf("%q: the next run was not asked about: %v", word, err)
		}
	}
}

func TestAMappingThatChangesIsAskedAboutAgain(t *testing.T) {
	p := &person{answers: []string{"web-01", "no"}}
	a := metal(p, farshore.UEFI)
	m := home("r1", false)
	if _, err := a.Consent(t.Context(), m, func(*fault.Fault) {}); err != nil {
		t.Fatal(err)
	}
	m.Sinks = []sink.Sink{{Disk: "boot", Kind: farshore.HomeDevice, Path: "/dev/disk/by-id/b", Sectors: 20 * gibSectors}}
	if _, err := a.Consent(t.Context(), m, func(*fault.Fault) {}); code(t, err) != "FS-4122" {
		t.Errorf("Consent = %v", err)
	}
}

func TestWhatWasConfirmedAtTheDeskIsNotAskedAbout(t *testing.T) {
	p := &person{}
	if sinks, err := metal(p, farshore.UEFI).Consent(t.Context(), home("r1", true), func(*fault.Fault) {}); err != nil || len(sinks) != 1 || p.said.Len() > 0 {
		t.Errorf("Consent = %+v, %v; said %q", sinks, err, p.said.String())
	}
}

func TestFirmwareOfAnotherKindIsRefusedWithoutAQuestion(t *testing.T) {
	p := &person{answers: []string{"web-01"}}
	for _, overwrite := range []bool{false, true} {
		if _, err := metal(p, farshore.BIOS).Consent(t.Context(), home("r1", overwrite), func(*fault.Fault) {}); code(t, err) != "FS-4123" {
			t.Errorf("Consent = %v", err)
		}
	}
	if p.said.Len() > 0 {
		t.Errorf("a question was asked: %s", p.said.String())
	}
}

func TestAnotherMachineIsNotLetIn(t *testing.T) {
	m := home("r1", true)
	m.Machine = "db-01"
	if _, err := metal(&person{}, farshore.UEFI).Consent(t.Context(), m, func(*fault.Fault) {}); code(t, err) != "FS-4122" {
		t.Errorf("Consent = %v", err)
	}
}

func TestAQuestionEndsWithItsRun(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := metal(&person{}, farshore.UEFI).Consent(ctx, home("r1", false), func(*fault.Fault) {}); !errors.Is(err, context.Canceled) {
		t.Errorf("Consent = %v", err)
	}
}
