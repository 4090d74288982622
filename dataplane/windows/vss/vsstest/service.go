package vsstest

import (
	"fmt"
	"strings"
	"time"

	"farshore/dataplane/windows/vss"
)

// Outcomes of calls that go on.
const (
	pending   vss.HRESULT = 0x00042309
	finished  vss.HRESULT = 0x0004230a
	Cancelled vss.HRESULT = 0x0004230b
)

// Service is the Volume Shadow Copy Service by script.
type Service struct {
	Fail     map[string]error       // calls that fail
	Ends     map[string]vss.HRESULT // how calls that go on end, if not well
	Hangs    string                 // a call that never ends
	Unable   map[string]bool        // volumes of which there is no shadow copy
	Writers  []vss.Writer
	Refuse   error        // of making an object
	OnStatus func()       // is called whenever a call that goes on is asked about
	OnDo     func()       // is called when the shadow copies come to be
	Objects  []*requester // those that were made
	BadOrder []string     // calls that came out of order
	clock    time.Time
}

// Open makes an object.
func (s *Service) Open() (vss.API, error) {
	if s.Refuse != nil {
		return nil, s.Refuse
	}
	r := &requester{Service: s}
	s.Objects = append(s.Objects, r)
	return r, nil
}

// Now is a clock that moves when it is looked at, so that time limits are reached without waiting.
func (s *Service) Now() time.Time {
	s.clock = s.clock.Add(time.Second)
	return s.clock
}

// requester is one object of the service.
type requester struct {
	*Service
	Calls    []string
	Did      map[string]bool
	Context  vss.Context
	Live     int      // shadow copies that exist
	Added    []string // volumes
	Waiting  int      // operations that were not released
	Released bool
}

// Device is the name of the n-th shadow copy of a set, counted from 1.
func Device(n int) string { return fmt.Sprintf(`\\?\GLOBALROOT\Device\HarddiskVolumeShadowCopy%d`, n) }

// needs says which calls must have succeeded before a call; "!" before a name means that it must not have.
var needs = map[string]string{
	"SetContext":            "InitializeForBackup !StartSnapshotSet",
	"SetBackupState":        "SetContext !PrepareForBackup",
	"GatherWriterMetadata":  "SetContext SetBackupState",
	"FreeWriterMetadata":    "GatherWriterMetadata",
	"StartSnapshotSet":      "SetContext",
	"AddToSnapshotSet":      "StartSnapshotSet !DoSnapshotSet",
	"PrepareForBackup":      "GatherWriterMetadata StartSnapshotSet",
	"DoSnapshotSet":         "AddToSnapshotSet",
	"GatherWriterStatus":    "PrepareForBackup",
	"GetWriterStatus":       "GatherWriterStatus",
	"FreeWriterStatus":      "GatherWriterStatus",
	"GetSnapshotProperties": "DoSnapshotSet",
	"BackupComplete":        "DoSnapshotSet PrepareForBackup !AbortBackup",
	"DeleteSnapshots":       "DoSnapshotSet",
	"IsVolumeSupported":     "SetContext",
	"AbortBackup":           "StartSnapshotSet",
}

// call notes a call and refuses it when it is out of order.
func (r *requester) call(name, argument string) error {
	r.Calls = append(r.Calls, strings.TrimSpace(name+" "+argument))
	bad := r.Released
	for need := range strings.FieldsSeq(needs[name]) {
		without, not := strings.CutPrefix(need, "!")
		bad = bad || r.Did[without] == not
	}
	if name == "DoSnapshotSet" && r.Context == vss.WithWriters {
		bad = bad || !r.Did["PrepareForBackup"]
	}
	if bad {
		r.BadOrder = append(r.BadOrder, name+" after "+strings.Join(r.Calls, ", "))
		return vss.HRESULT(0x80042301)
	}
	if err := r.Fail[name]; err != nil {
		return err
	}
	if r.Did == nil {
		r.Did = map[string]bool{}
	}
	r.Did[name] = true
	return nil
}

func (r *requester) begin(name string) (vss.Operation, error) {
	if err := r.call(name, ""); err != nil {
		return nil, err
	}
	r.Waiting++
	return &doing{name: name, of: r}, nil
}

func (r *requester) InitializeForBackup() error { return r.call("InitializeForBackup", "") }

func (r *requester) SetContext(c vss.Context) error {
	r.Context = c
	return r.call("SetContext", fmt.Sprintf("%#x", int32(c)))
}

func (r *requester) SetBackupState(bootable bool) error {
	return r.call("SetBackupState", fmt.Sprintf("bootable=%v", bootable))
}

func (r *requester) GatherWriterMetadata() (vss.Operation, error) {
	return r.begin("GatherWriterMetadata")
}

func (r *requester) FreeWriterMetadata() error { return r.call("FreeWriterMetadata", "") }

func (r *requester) PrepareForBackup() (vss.Operation, error)   { return r.begin("PrepareForBackup") }
func (r *requester) DoSnapshotSet() (vss.Operation, error)      { return r.begin("DoSnapshotSet") }
func (r *requester) GatherWriterStatus() (vss.Operation, error) { return r.begin("GatherWriterStatus") }

func (r *requester) FreeWriterStatus() error                { return r.call("FreeWriterStatus", "") }
func (r *requester) BackupComplete() (vss.Operation, error) { return r.begin("BackupComplete") }
func (r *requester) AbortBackup() error                     { return r.call("AbortBackup", "") }

func (r *requester) IsVolumeSupported(v string) (bool, error) {
	return !r.Unable[v], r.call("IsVolumeSupported", v)
}

func (r *requester) StartSnapshotSet() (vss.GUID, error) {
	return vss.GUID{0xff}, r.call("StartSnapshotSet", "")
}

func (r *requester) AddToSnapshotSet(v string) (vss.GUID, error) {
	r.Added = append(r.Added, v)
	return vss.GUID{byte(len(r.Added))}, r.call("AddToSnapshotSet", v)
}

func (r *requester) WriterStatuses() ([]vss.Writer, error) {
	return r.Writers, r.call("GetWriterStatus", "")
}

func (r *requester) GetSnapshotProperties(id vss.GUID) (string, error) {
	return Device(int(id[0])), r.call("GetSnapshotProperties", fmt.Sprint(id[0]))
}

func (r *requester) DeleteSnapshots(vss.GUID) error {
	err := r.call("DeleteSnapshots", "")
	if err == nil {
		r.Live = 0
	}
	return err
}

func (r *requester) Release() {
	r.Calls = append(r.Calls, "Release")
	if r.Released {
		r.BadOrder = append(r.BadOrder, "released twice")
	}
	r.Released, r.Live = true, 0
}

// doing is a call that goes on. It is pending twice before it ends.
type doing struct {
	name  string
	of    *requester
	polls int
}

func (d *doing) Wait(time.Duration) error { return nil }

func (d *doing) QueryStatus() (vss.HRESULT, error) {
	if d.of.OnStatus != nil {
		d.of.OnStatus()
	}
	d.polls++
	if d.of.Hangs == d.name || d.polls < 3 {
		return pending, nil
	}
	if h, ok := d.of.Ends[d.name]; ok {
		return h, nil
	}
	if d.name == "DoSnapshotSet" {
		d.of.Live = len(d.of.Added)
		if d.of.OnDo != nil {
			d.of.OnDo()
		}
	}
	return finished, nil
}

func (d *doing) Cancel() error {
	d.of.Calls = append(d.of.Calls, "Cancel "+d.name)
	return nil
}

func (d *doing) Release() { d.of.Waiting-- }
