package choose

import (
	"context"
	"errors"
	"fmt"
	"time"

	"farshore"
	"farshore/dataplane/disk"
	"farshore/dataplane/tracker"
	"farshore/dataplane/tracker/scan"
)

// Places says where trackers keep what outlives the agent's process.
type Places struct {
	Pins string // in a bpf file system: programs and bitmaps
	Run  string // on a file system that is not protected, best in memory: tables of scans
}

// Set is the trackers of a machine's disks.
type Set struct {
	Choices []tracker.Choice // in the order of the disks
	disks   map[farshore.DiskID]tracker.Disk
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
	return s, ctx.Err()
}

// Disk gives the tracker of a disk, or nil.
func (s *Set) Disk(id farshore.DiskID) tracker.Disk { return s.disks[id] }

// Close lets go of all disks. What can go on without this process goes on.
func (s *Set) Close() error {
	var err error
	for _, c := range s.closers {
		err = errors.Join(err, c())
	}
	s.closers = nil
	return err
}
