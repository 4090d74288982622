package choose

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"farshore"
	"farshore/dataplane/disk"
	"farshore/dataplane/tracker"
	"farshore/dataplane/tracker/capture"
	"farshore/dataplane/tracker/scan"
)

// Places says where trackers keep what outlives the agent's process.
type Places struct {
	Pins string // in a bpf file system: programs and bitmaps
	Run  string // on a file system that is not protected, best in memory: tables of scans

	RingBytes int         // of the ring in which writes are recorded in order; 0 = they are not
	Own       capture.Own // the agent's own writes, which need no recording
}

// Set is the trackers of a machine's disks.
type Set struct {
	Choices []tracker.Choice // in the order of the disks
	disks   map[farshore.DiskID]tracker.Disk
	capture *capture.Capture
	mend    func() (what []string, err error)
	closers []func() error
}

// Open opens a tracker for each disk, by its spec and device in the same order.
func Open(ctx context.Context, places Places, specs []farshore.DiskSpec, devices []*disk.Device) (*Set, error) {
	s := &Set{disks: map[farshore.DiskID]tracker.Disk{}}
	why := s.openBitmaps(ctx, places, specs, devices)
	for i, d := range devices {
		choice := tracker.Choice{Disk: specs[i].ID, Grade: tracker.Bitmap}
		if s.disks[specs[i].ID] == nil {
			scanned, err := scan.Open(places.Run, specs[i].ID, d, time.Now)
			if err != nil {
				return nil, errors.Join(fmt.Errorf("track disk %s: %w", specs[i].ID, err), s.Close())
			}
			s.disks[specs[i].ID], choice.Grade, choice.Why = scanned, tracker.Scan, why[i]
			s.closers = append(s.closers, scanned.Close)
		}
		s.Choices = append(s.Choices, choice)
	}
	if places.RingBytes > 0 {
		s.openCapture(ctx, places, devices)
	}
	return s, ctx.Err()
}

// openCapture raises all disks to the grade of capture, or none and says why: there is one order for all of them.
func (s *Set) openCapture(ctx context.Context, places Places, devices []*disk.Device) {
	var err error
	for _, c := range s.Choices {
		if c.Grade != tracker.Bitmap {
			err = fmt.Errorf("disk %s has no bitmap, and one order holds for all disks or for none", c.Disk)
		}
	}
	if err == nil {
		s.capture, err = capture.Open(ctx, capture.Config{Devices: devices, RingBytes: places.RingBytes, Own: places.Own})
	}
	if err != nil {
		for i := range s.Choices {
			if s.Choices[i].Grade == tracker.Bitmap {
				s.Choices[i].Why = err.Error()
			}
		}
		return
	}
	s.closers = append(s.closers, s.capture.Close)
	for i := range s.Choices {
		s.Choices[i].Grade = tracker.Capture
	}
}

// Capture gives the recording of all the disks' writes, in the order of the devices. It is nil if none was asked for, or
// where it cannot be: then Choices say why.
func (s *Set) Capture() *capture.Capture { return s.capture }

// Mend makes what has to outlive this process do so again, where somebody took that away, and says what it was. Nothing was
// missed by it.
func (s *Set) Mend() (what []string, err error) {
	if s.mend == nil {
		return nil, nil
	}
	return s.mend()
}

// Disk gives the tracker of a disk, or nil.
func (s *Set) Disk(id farshore.DiskID) tracker.Disk { return s.disks[id] }

// Close lets go of all disks. What can go on without this process goes on.
func (s *Set) Close() error {
	var err error
	for _, c := range slices.Backward(s.closers) {
		err = errors.Join(err, c())
	}
	s.closers, s.capture = nil, nil
	return err
}
