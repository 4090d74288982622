package vss

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"farshore/fault"
)

// How long each step may take. Windows itself holds writes for at most ten seconds and writers for at most a minute.
const (
	gatherWithin   = 3 * time.Minute
	prepareWithin  = 5 * time.Minute
	snapshotWithin = 5 * time.Minute
	statusWithin   = time.Minute
	completeWithin = 3 * time.Minute
	waitStep       = 250 * time.Millisecond // how soon a cancelled caller is heard
)

// Request is what is to be snapshot.
type Request struct {
	Volumes      []string // names that end in a backslash
	Applications bool     // writers take part
	Bootable     bool     // Windows starts from one of the volumes
	// Before, if it is not nil, is called when everything is ready for the snapshot, with the volumes of which there will be no
	// shadow copy. Its error ends the attempt.
	Before func(ctx context.Context, skipped []string) error
}

// Set is a set of shadow copies of one instant. It must be released.
type Set struct {
	Devices map[string]string // volume to the device of its shadow copy
	Skipped []string          // volumes of which there are no shadow copies (FAT, for one)
	Note    string            // why the set is less than was asked for, or ""
	At      time.Time         // when the snapshot was complete

	api   API
	id    GUID
	asked bool // writers wait for the end
	now   func() time.Time
}

// Take makes a set, with new objects of the service. When applications were asked for and their writers stand in the way of a
// snapshot, it is made without them, which the set notes. The error is a *fault.Fault (FS-1050, FS-1051).
func Take(ctx context.Context, open func() (API, error), now func() time.Time, r Request) (*Set, error) {
	s, err := attempt(ctx, open, now, r)
	if err == nil || ctx.Err() != nil || !r.Applications {
		return s, asFault(err)
	}
	note := err.Error()
	r.Applications = false
	if s, err = attempt(ctx, open, now, r); err != nil {
		return nil, asFault(err)
	}
	s.Note = note
	return s, nil
}

func asFault(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := fault.As(err); ok {
		return err
	}
	return &fault.Fault{
		Code: "FS-1051", Kind: fault.Transient, Subject: "volume shadow copies", What: "a consistent set could not be made",
		Remedy: "the agent goes on trying; see: vssadmin list writers, and the event log (VSS, volsnap)", Err: err,
	}
}

// attempt goes the way once. Whatever was begun is ended when it fails.
func attempt(ctx context.Context, open func() (API, error), now func() time.Time, r Request) (s *Set, err error) {
	api, err := open()
	if err != nil {
		return nil, &fault.Fault{
			Code: "FS-1050", Kind: fault.Operator, Subject: "volume shadow copies", What: "the Volume Shadow Copy Service cannot be used",
			Remedy: "run the agent as LocalSystem or an administrator, and see that the service VSS is not disabled: sc qc vss", Err: err,
		}
	}
	s = &Set{Devices: map[string]string{}, api: api, now: now}
	defer func() {
		if err != nil {
			s.abort()
			s = nil
		}
	}()
	if err := s.begin(ctx, r); err != nil {
		return s, err
	}
	snapshots, err := s.add(r.Volumes)
	if err != nil {
		return s, err
	}
	if err := s.snapshot(ctx, r, len(snapshots) > 0); err != nil {
		return s, err
	}
	for volume, id := range snapshots {
		if s.Devices[volume], err = api.GetSnapshotProperties(id); err != nil {
			return s, fmt.Errorf("find the shadow copy of %s: %w", volume, err)
		}
	}
	return s, nil
}

// begin says what is wanted and, with applications, has the writers introduce themselves.
func (s *Set) begin(ctx context.Context, r Request) error {
	if err := s.api.InitializeForBackup(); err != nil {
		return fmt.Errorf("begin a backup: %w", err)
	}
	if !r.Applications {
		if err := s.api.SetContext(WithoutWriters); err != nil {
			return fmt.Errorf("ask for shadow copies without writers: %w", err)
		}
		return nil
	}
	if err := s.api.SetContext(WithWriters); err != nil {
		return fmt.Errorf("ask for shadow copies with writers: %w", err)
	}
	if err := s.api.SetBackupState(r.Bootable); err != nil {
		return fmt.Errorf("declare the backup: %w", err)
	}
	if err := s.await(ctx, gatherWithin, "the writers' metadata", s.api.GatherWriterMetadata); err != nil {
		return err
	}
	if err := s.api.FreeWriterMetadata(); err != nil {
		return fmt.Errorf("let go of the writers' metadata: %w", err)
	}
	return nil
}

// add puts every volume into the set that can be in one.
func (s *Set) add(volumes []string) (snapshots map[string]GUID, err error) {
	id, err := s.api.StartSnapshotSet()
	if err != nil {
		return nil, fmt.Errorf("begin a set: %w", err)
	}
	s.id = id
	snapshots = map[string]GUID{}
	for _, v := range volumes {
		able, err := s.api.IsVolumeSupported(v)
		if err != nil {
			return nil, fmt.Errorf("ask whether there can be a shadow copy of %s: %w", v, err)
		}
		if !able {
			s.Skipped = append(s.Skipped, v)
			continue
		}
		if snapshots[v], err = s.api.AddToSnapshotSet(v); err != nil {
			return nil, fmt.Errorf("add %s to the set: %w", v, err)
		}
	}
	return snapshots, nil
}

// snapshot makes the shadow copies. Without a volume there is nothing to make.
func (s *Set) snapshot(ctx context.Context, r Request, volumes bool) error {
	if r.Applications && volumes {
		s.asked = true // from here on the writers must be told of the end
		if err := s.await(ctx, prepareWithin, "the writers' preparation", s.api.PrepareForBackup); err != nil {
			return err
		}
	}
	if r.Before != nil {
		if err := r.Before(ctx, s.Skipped); err != nil {
			return err
		}
	}
	if !volumes {
		s.At = s.now()
		return nil
	}
	if err := s.await(ctx, snapshotWithin, "the snapshot", s.api.DoSnapshotSet); err != nil {
		return err
	}
	s.At = s.now()
	if !r.Applications {
		return nil
	}
	return s.judge(ctx)
}

// judge asks the writers how they fared. One that failed makes the set less; not to know is the same.
func (s *Set) judge(ctx context.Context) error {
	err := s.await(ctx, statusWithin, "the writers' states", s.api.GatherWriterStatus)
	if ctx.Err() != nil {
		return err
	}
	var writers []Writer
	if err == nil {
		writers, err = s.api.WriterStatuses()
		err = errors.Join(err, s.api.FreeWriterStatus())
	}
	if err != nil {
		s.Note = "the writers did not say how they fared: " + err.Error()
		return nil
	}
	var bad []string
	for _, w := range writers {
		if p := w.problem(); p != "" {
			bad = append(bad, p)
		}
	}
	if len(bad) > 0 {
		f := &fault.Fault{
			Code: "FS-1052", Kind: fault.Operator, Subject: "VSS writers", What: strings.Join(bad, "; "),
			Remedy: "see: vssadmin list writers; restarting the writer's service helps most often",
		}
		s.Note = f.Error()
	}
	return nil
}

// await makes a call that goes on and waits for its end. When the time or ctx is over, the call is cancelled.
func (s *Set) await(ctx context.Context, within time.Duration, what string, call func() (Operation, error)) error {
	op, err := call()
	if err != nil {
		return fmt.Errorf("ask for %s: %w", what, err)
	}
	defer op.Release()
	for end := s.now().Add(within); ; {
		if err := op.Wait(waitStep); err != nil {
			return fmt.Errorf("wait for %s: %w", what, err)
		}
		status, err := op.QueryStatus()
		switch {
		case err != nil:
			return fmt.Errorf("wait for %s: %w", what, err)
		case status == asyncPending || status == 0:
		case status == asyncFinished:
			return nil
		case status == asyncCancelled:
			return fmt.Errorf("wait for %s: it was cancelled", what)
		default:
			return fmt.Errorf("%s: %w", what, status)
		}
		if ctx.Err() != nil {
			return errors.Join(fmt.Errorf("wait for %s: %w", what, context.Cause(ctx)), op.Cancel())
		}
		if !s.now().Before(end) {
			return errors.Join(fmt.Errorf("%s took longer than %v", what, within), op.Cancel())
		}
	}
}

// abort ends what was begun and did not succeed. Nothing can be made of its own errors: the release ends everything.
func (s *Set) abort() {
	if s.id != (GUID{}) {
		s.api.AbortBackup() //nolint:errcheck // see above
	}
	if !s.At.IsZero() {
		s.api.DeleteSnapshots(s.id) //nolint:errcheck // see above
	}
	s.api.Release()
}

// Release tells the writers that the copy is complete, or given up, and deletes the shadow copies. They are gone even when it
// returns an error, which tells what else went wrong.
func (s *Set) Release(ctx context.Context, complete bool) error {
	var err error
	switch {
	case s.asked && complete:
		err = s.await(ctx, completeWithin, "the end of the backup", s.api.BackupComplete)
	case s.asked, len(s.Devices) == 0: // given up, or nothing was there to be made
		err = s.api.AbortBackup()
	}
	if len(s.Devices) > 0 {
		if derr := s.api.DeleteSnapshots(s.id); derr != nil {
			err = errors.Join(err, fmt.Errorf("delete the shadow copies: %w", derr))
		}
	}
	s.api.Release()
	return err
}
