package applier

import (
	"fmt"
	"log/slog"
	"time"

	"farshore"
	"farshore/dataplane/journal"
	"farshore/dataplane/vault"
	"farshore/fault"
)

// Settings is how an applier works. The zero value of a field means its default.
type Settings struct {
	RTOGoalSeconds int   `json:"rtoGoalSeconds,omitempty" yaml:"rtoGoalSeconds,omitempty"` // a checkpoint is taken when replaying would use up half of it; default 300
	PollSeconds    int   `json:"pollSeconds,omitempty" yaml:"pollSeconds,omitempty"`       // how often the end of a stream is looked at; default 5
	Machines       int   `json:"machines,omitempty" yaml:"machines,omitempty"`             // windows in work at once, 64 MiB sealed and 128 MiB of content each; default 4
	Lanes          int   `json:"lanes,omitempty" yaml:"lanes,omitempty"`                   // requests to one disk at once; default 16
	Checkpoints    int   `json:"checkpoints,omitempty" yaml:"checkpoints,omitempty"`       // kept for each machine; default 12
	FillBytes      int64 `json:"fillBytes,omitempty" yaml:"fillBytes,omitempty"`           // gaps bridged between runs; default 123 KiB for page blobs, none for files
}

// fillForBlobs is what 60 MiB/s divided by 500 requests/s leaves for each request: 122.88 KiB, in whole sectors.
const fillForBlobs = 122 << 10

// WithDefaults fills in what is missing, for a kind of vault.
func (s Settings) WithDefaults(kind vault.Kind) Settings {
	or := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	or(&s.RTOGoalSeconds, 300)
	or(&s.PollSeconds, 5)
	or(&s.Machines, 4)
	or(&s.Lanes, 16)
	or(&s.Checkpoints, 12)
	if s.FillBytes == 0 && kind == vault.KindAzblob {
		s.FillBytes = fillForBlobs
	}
	return s
}

func (s Settings) rtoGoal() time.Duration { return time.Duration(s.RTOGoalSeconds) * time.Second }

// Check says why the settings cannot be used. The error is a *fault.Fault (FS-4005).
func (s Settings) Check() error {
	for name, v := range map[string]int{"rtoGoalSeconds": s.RTOGoalSeconds, "pollSeconds": s.PollSeconds, "machines": s.Machines, "lanes": s.Lanes, "checkpoints": s.Checkpoints} {
		if v < 0 || v > 1<<20 {
			return badSettings(fmt.Sprintf("%s is %d", name, v))
		}
	}
	if s.FillBytes < 0 || s.FillBytes > vault.MaxWriteBytes/2 {
		return badSettings(fmt.Sprintf("fillBytes is %d, at most %d", s.FillBytes, vault.MaxWriteBytes/2))
	}
	return nil
}

func badSettings(what string) error {
	return &fault.Fault{Code: "FS-4005", Kind: fault.Operator, Subject: "applier configuration", What: what, Remedy: "correct it, or leave it out for its default"}
}

// Deps is what an applier works with.
type Deps struct {
	Journal  journal.Reader // with keys
	Store    vault.Store
	Replicas vault.Replicas
	Signer   journal.Signer   // this node; without one no hashes are offered to agents
	Settings Settings         // with defaults
	Poll     time.Duration    // instead of PollSeconds, if not 0
	Now      func() time.Time // nil: the system's
	Log      *slog.Logger
	Changed  func() // called when something happened that the hub may wait for
}

func (d Deps) now() time.Time {
	if d.Now != nil {
		return d.Now()
	}
	return time.Now()
}

// Desired is what an applier shall do.
type Desired struct {
	Machines []farshore.MachineID          // whose replicas it keeps
	Jobs     []Job                         // in order; jobs of one run are done one after the other
	Rebuilds map[farshore.MachineID]uint64 // replicas made before such a number are made anew from the journal
}

// JobKind says what a job is.
type JobKind uint8

// The kinds of job.
const (
	Materialise JobKind = iota + 1 // make the disks of a recovery point
	Discard                        // remove the disks of a run
	Scrub                          // read a machine's journal and its replica, and say what is not what was written
)

// Job is a piece of work with an end. Ids are never used for another job.
type Job struct {
	ID       string
	Kind     JobKind
	Run      farshore.RunID
	Machine  farshore.MachineID
	Position farshore.Position // of Materialise
}

// Observed is what an applier reports.
type Observed struct {
	Replicas []ReplicaObserved
	Jobs     []JobObserved
	Faults   []*fault.Fault // of replicas that stand still, then of generations that were left behind, broken

	StandingStill int // replicas that a fault keeps from following their stream
}

// ReplicaObserved is how far a machine's replica is.
type ReplicaObserved struct {
	Machine      farshore.MachineID
	Applied      farshore.Position
	Checkpoint   farshore.Position // the newest; zero if there is none
	AppliedBytes int64             // written to replica disks since the applier started
	Replay       time.Duration     // estimate of replaying what came since the checkpoint
	AppliedUTC   time.Time         // time of the stream at Applied; zero: not known, because nothing was applied since the start
	CaughtUp     bool              // nothing was behind Applied at the last look
	Rate         float64           // bytes applied in a second, of late, while there was something to apply
	Rebuilt      uint64            // the rebuild that the replica comes from
	Goal         time.Duration     // what replaying shall take at most
	Fault        *fault.Fault      // what keeps it from following its stream
}

// Lag is how far the replica is behind its stream at a time; 0 if it has caught up or nobody knows.
func (r ReplicaObserved) Lag(now time.Time) time.Duration {
	if r.CaughtUp || r.AppliedUTC.IsZero() {
		return 0
	}
	return max(0, now.Sub(r.AppliedUTC))
}

// JobState says how far a job is.
type JobState uint8

// The states of a job.
const (
	Running JobState = iota + 1
	Done
	Failed
)

// JobObserved is how far a job is.
type JobObserved struct {
	ID         string
	State      JobState
	TotalBytes int64 // of the journal to replay, or of what a scrub reads
	DoneBytes  int64
	Disks      []MadeDisk
	Scrubbed   *Scrubbed // of Scrub; replaced, never changed
	Fault      *fault.Fault
}

// MadeDisk is a disk that holds a recovery point and ends with a fixed VHD footer.
type MadeDisk struct {
	Disk      farshore.DiskID
	URL       string
	SizeBytes int64 // without the footer: a multiple of 1 MiB
	Boot      bool
}
