package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"farshore/dataplane/block"
	"farshore/dataplane/disk"
	"farshore/dataplane/disk/freespace"
	"farshore/fault"
)

// worthAHold is the free space for which a file system is held still once.
const worthAHold = 16 << 20

// spareDisk asks the file systems of a disk, each in a freeze of its own. One that does not tell is copied whole.
func (s *sending) spareDisk(ctx context.Context, from *source) error {
	direct, others, err := from.device.Standing()
	if err != nil {
		return err
	}
	for _, fs := range others {
		s.copiesFree(from, fs, "it does not stand directly on the disk")
	}
	for _, at := range direct {
		if !freespace.Knows(at.Type) {
			s.copiesFree(from, at.FileSystem, "a "+at.Type+" does not tell its free blocks by their places on the disk")
			continue
		}
		why, err := s.spareSystem(ctx, from, at)
		if err != nil {
			return err
		}
		if why != "" {
			s.copiesFree(from, at.FileSystem, why)
		}
	}
	return nil
}

func (s *sending) copiesFree(from *source, fs disk.FileSystem, why string) {
	s.agent.deps.Log.Info("the free space of a file system is copied too", "disk", from.id, "mount", fs.MountPoint, "why", why)
}

// spareSystem takes the free blocks of one file system out of the base. why says what stood against it.
func (s *sending) spareSystem(ctx context.Context, from *source, at disk.Standing) (why string, err error) {
	r, err := freespace.Open(from.device, at)
	if err != nil {
		return err.Error(), nil
	}
	defer r.Close() //nolint:errcheck // a folder opened for reading has nothing to lose
	if why := s.rehearse(ctx, r); why != "" {
		return why, ctx.Err()
	}
	held := []disk.FileSystem{at.FileSystem}
	if err := disk.Flush(held); err != nil {
		return "", err
	}
	skipped, err := s.agent.freezer.Freeze(ctx, held, s.agent.deps.FreezeBound)
	if err != nil || len(skipped) > 0 {
		return fmt.Sprintf("it could not be held still: %v", err), ctx.Err()
	}
	free, gap, terr := s.takeFree(ctx, from, r) // nothing in it logs or writes: the file system may be where that would go
	still, err := s.agent.freezer.Thaw(context.WithoutCancel(ctx))
	switch {
	case err != nil:
		return "", err
	case gap != "":
		return "", s.missed(from, gap)
	case terr != nil:
		f, ok := fault.As(terr)
		if !ok {
			return "", terr
		}
		return f.Error(), ctx.Err()
	case !still:
		return "it was let go before its free blocks were listed", nil
	}
	for e := range free.All() {
		whole := from.base.within(e)
		from.free.Mark(whole) // before it leaves the base: no instant at which a block is in neither
		from.base.remove(whole)
	}
	from.stated = false
	return "", nil
}

// rehearse finds out, with nothing held still, whether to hold the file system is worth it and would be short.
func (s *sending) rehearse(ctx context.Context, r *freespace.Reader) (why string) {
	bound := s.agent.deps.FreezeBound / 4
	for range 2 { // what the first look reads, the second finds in memory
		begun := time.Now()
		n, err := r.Look(ctx)
		switch took := time.Since(begun); {
		case err != nil:
			return err.Error()
		case n.Bytes() < worthAHold:
			return "it is nearly full"
		case took <= bound:
			return ""
		}
	}
	return fmt.Sprintf("to list its free blocks takes longer than %v", bound)
}

// takeFree takes the changes of a disk and the free blocks of a frozen file system on it.
func (s *sending) takeFree(ctx context.Context, from *source, r *freespace.Reader) (free *block.Set, gap string, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.agent.deps.FreezeBound/2)
	defer cancel()
	if gap, err = from.track.Check(false); err != nil || gap != "" {
		return nil, gap, err
	}
	if err = errors.Join(from.track.Exchange(ctx, from), from.track.Outstanding(false, from)); err != nil {
		return nil, "", err
	}
	free, err = r.Take(ctx)
	return free, "", err
}
