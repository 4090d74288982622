package vss

import (
	"fmt"
	"time"
)

// GUID is an identity as Windows stores it.
type GUID [16]byte

// HRESULT is the outcome of a call. As an error it says what it means.
type HRESULT uint32

// The outcomes that are told apart.
const (
	asyncPending   HRESULT = 0x00042309
	asyncFinished  HRESULT = 0x0004230a
	asyncCancelled HRESULT = 0x0004230b
)

// outcomes are what administrators meet (vss.h).
var outcomes = map[HRESULT]string{
	0x80070005: "access is denied: it needs an administrator",
	0x8007000e: "the machine is out of memory",
	0x80042301: "the calls came in the wrong order",
	0x80042302: "the service met an unexpected error; see the event log",
	0x80042306: "the provider of shadow copies refuses",
	0x8004230c: "shadow copies of this volume are not supported",
	0x8004230f: "the provider of shadow copies met an unexpected error; see the event log",
	0x80042312: "there are too many volumes in one set",
	0x80042313: "the file systems could not be flushed in time",
	0x80042314: "the writes could not be held for so long",
	0x80042316: "another program is making shadow copies right now",
	0x80042317: "there are too many shadow copies of a volume",
	0x80042318: "the writers' infrastructure does not work; see the event log",
	0x80042319: "a writer does not respond",
	0x8004231b: "this edition of Windows knows no such shadow copies",
	0x8004231f: "there is too little free space for shadow copies",
	0x800423f0: "the writer's data is not all in the set",
	0x800423f1: "the writer ran out of resources",
	0x800423f2: "the writer's time was over",
	0x800423f3: "the writer met an error that may pass",
	0x800423f4: "the writer met an error that will not pass",
	0x80070490: "a volume of the set is gone",
}

func (h HRESULT) Error() string {
	if what, ok := outcomes[h]; ok {
		return fmt.Sprintf("%s (0x%08x)", what, uint32(h))
	}
	return fmt.Sprintf("the call ended with 0x%08x", uint32(h))
}

// failed reports whether the outcome is an error.
func (h HRESULT) failed() bool { return int32(h) < 0 }

// Context says what kind of shadow copies are made. Both kinds go with the requester.
type Context int32

// The contexts (VSS_SNAPSHOT_CONTEXT).
const (
	WithWriters    Context = 0x00 // VSS_CTX_BACKUP
	WithoutWriters Context = 0x10 // VSS_CTX_FILE_SHARE_BACKUP
)

// WriterState is how far a writer has come (VSS_WRITER_STATE).
type WriterState uint32

// stages names the states in which a writer has failed, by what it failed at.
var stages = map[WriterState]string{
	6: "identifying itself", 7: "preparing for the backup", 8: "preparing for the snapshot", 9: "holding its writes",
	10: "letting its writes go", 11: "its work behind the snapshot", 12: "ending the backup", 15: "the end of the requester",
}

// Writer is an application's part in a snapshot.
type Writer struct {
	Name   string
	State  WriterState
	Result HRESULT // why it failed
}

// problem says how the writer failed, or "".
func (w Writer) problem() string {
	stage, bad := stages[w.State]
	if !bad && !w.Result.failed() {
		return ""
	}
	if stage == "" {
		stage = "its part"
	}
	return fmt.Sprintf("%s failed at %s: %v", w.Name, stage, w.Result)
}

// API is one object of the service (IVssBackupComponents). It serves one set. Each method is one call of the same name.
type API interface {
	InitializeForBackup() error
	SetContext(Context) error
	// SetBackupState declares a copy of whole volumes, with or without those that Windows starts from.
	SetBackupState(bootable bool) error
	GatherWriterMetadata() (Operation, error)
	FreeWriterMetadata() error
	IsVolumeSupported(volume string) (bool, error)
	StartSnapshotSet() (set GUID, err error)
	AddToSnapshotSet(volume string) (snapshot GUID, err error)
	PrepareForBackup() (Operation, error)
	DoSnapshotSet() (Operation, error)
	GatherWriterStatus() (Operation, error)
	// WriterStatuses is GetWriterStatusCount and GetWriterStatus of each.
	WriterStatuses() ([]Writer, error)
	FreeWriterStatus() error
	// GetSnapshotProperties gives the device of a shadow copy.
	GetSnapshotProperties(snapshot GUID) (device string, err error)
	BackupComplete() (Operation, error)
	AbortBackup() error
	DeleteSnapshots(set GUID) error
	// Release lets go of the object; shadow copies that are left go with it.
	Release()
}

// Operation is a call that goes on (IVssAsync).
type Operation interface {
	// Wait waits for the end, at most so long.
	Wait(time.Duration) error
	QueryStatus() (HRESULT, error)
	Cancel() error
	Release()
}
