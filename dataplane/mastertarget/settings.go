package mastertarget

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"farshore"
	"farshore/dataplane/journal"
	"farshore/dataplane/sink"
	"farshore/dataplane/vault"
	"farshore/fault"
)

// Settings is how a master target works. The zero value of a field means its default.
type Settings struct {
	Devices     []string `yaml:"devices"`     // patterns of durable names of devices that may be written; default: none
	Folders     []string `yaml:"folders"`     // in which files and images may be made; default: none
	VM          string   `yaml:"vm"`          // BIOS UUID of the VM that it runs in; default: what the firmware says, on VMware
	PollSeconds int      `yaml:"pollSeconds"` // how often the end of a stream is looked at; default 5
	Machines    int      `yaml:"machines"`    // windows in work at once, 64 MiB sealed and 128 MiB of content each; default 2
	Lanes       int      `yaml:"lanes"`       // requests to one disk at once; default 8
}

// WithDefaults fills in what is missing.
func (s Settings) WithDefaults() Settings {
	or := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	or(&s.PollSeconds, 5)
	or(&s.Machines, 2)
	or(&s.Lanes, 8)
	if s.VM == "" {
		s.VM = firmwareUUID()
	}
	return s
}

// Check says why the settings cannot be used. The error is a *fault.Fault (FS-4115).
func (s Settings) Check() error {
	for name, v := range map[string]int{"pollSeconds": s.PollSeconds, "machines": s.Machines, "lanes": s.Lanes} {
		if v < 0 || v > 1<<10 {
			return badSettings(fmt.Sprintf("%s is %d", name, v))
		}
	}
	if len(s.Devices)+len(s.Folders) == 0 {
		return badSettings("it offers neither devices nor folders")
	}
	for _, pattern := range s.Devices {
		if _, err := filepath.Match(pattern, "/"); err != nil || !filepath.IsAbs(pattern) || filepath.Dir(pattern) == "/dev" {
			return badSettings(fmt.Sprintf("devices: %q is no pattern of durable names, such as /dev/disk/by-id/scsi-3*", pattern))
		}
	}
	for _, folder := range s.Folders {
		if !filepath.IsAbs(folder) || filepath.Clean(folder) != folder {
			return badSettings(fmt.Sprintf("folders: %q is no whole, plain path", folder))
		}
	}
	return nil
}

func badSettings(what string) error {
	return &fault.Fault{Code: "FS-4115", Kind: fault.Operator, Subject: "master target configuration", What: what, Remedy: "correct it; see docs/operate/failback.md"}
}

// Deps is what a master target works with.
type Deps struct {
	Journal  journal.Reader // with keys
	Store    vault.Store
	Replicas vault.Replicas // of the vault: their snapshots are the bases
	Dir      string         // of its own state
	Settings Settings       // with defaults
	Poll     time.Duration  // instead of PollSeconds, if not 0
	Now      func() time.Time
	Log      *slog.Logger
	Changed  func() // called when something happened that the hub may wait for

	// Consent is asked before a machine's disks are opened, and gives those to open; it may take as long as a person does, and
	// says meanwhile why it waits. nil: the configuration server's word is enough.
	Consent func(ctx context.Context, m Machine, waits func(*fault.Fault)) ([]sink.Sink, error)
	// GaveBack is told of a machine whose disks were given back, with what was observed last. nil: nobody is told.
	GaveBack func(MachineObserved)
}

// Version orders desired documents.
type Version struct {
	Incarnation uint64 `json:"incarnation"`
	Number      uint64 `json:"number"`
}

func (v Version) before(o Version) bool {
	return v.Incarnation < o.Incarnation || v.Incarnation == o.Incarnation && v.Number < o.Number
}

// Desired is what a master target shall do.
type Desired struct {
	Version  Version
	Machines []Machine
}

// Machine is one machine's way home.
type Machine struct {
	Machine farshore.MachineID
	Run     farshore.RunID // that gave the sinks
	Sinks   []sink.Sink
	Finish  farshore.Position // bring the disks to exactly this; zero: follow the stream
	Touched bool              // the disks were given back before, and somebody else may have written them since
}

// Observed is what a master target reports.
type Observed struct {
	Machines []MachineObserved
	Faults   []*fault.Fault // of machines that stand still, and of itself
	VM       string
	Devices  []Device
	Folders  []Folder
}

// MachineObserved is how far a machine's disks are.
type MachineObserved struct {
	Machine  farshore.MachineID
	Run      farshore.RunID
	Sinks    []sink.Sink       // that it acts on
	Open     bool              // all of them were taken
	Applied  farshore.Position // where the disks stand
	Clean    farshore.Position // the newest recovery point that they have held
	UTC      time.Time         // of the stream at Applied
	CaughtUp bool              // nothing was behind Applied at the last look
	Written  int64             // bytes written to the disks
	Equal    int64             // bytes found on them and left alone
	Finish   farshore.Position // that it acts on; zero: none
	Proof    Proof             // of the finish that is under way or done
	Finished farshore.Position // the disks were compared there; zero: not yet
	Fault    *fault.Fault      // keeps it from going on
}

// Device is a device that may be a sink.
type Device struct {
	Path  string
	Bytes int64
	Busy  string // why it cannot be one now; empty: it can

	Model, Serial string
	Holds         string // in a few words; empty: nothing, or not looked at because it is busy
}

// Folder is where files and images may be made.
type Folder struct {
	Path string
	Free int64 // bytes
}
