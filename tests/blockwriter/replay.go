package blockwriter

import (
	"errors"
	"fmt"
	"os"
)

// Replay builds the exact images that raw mode leaves after a sequence number, one file per disk, each of size
// bytes; places never written are zero. The sequence number must be the end of a logged operation.
func Replay(run Run, upto uint64, size int64, paths []string) (err error) {
	if err := replayable(run, upto, size, len(paths)); err != nil {
		return fmt.Errorf("replay a log: %w", err)
	}
	var files []*os.File
	defer func() { err = errors.Join(err, closeAll(files)) }()
	for _, path := range paths {
		f, err := os.Create(path)
		if err != nil {
			return fmt.Errorf("replay a log: %w", err)
		}
		files = append(files, f)
		if err := f.Truncate(size); err != nil {
			return fmt.Errorf("replay a log: %w", err)
		}
	}
	schedule, err := NewSchedule(run.Shape)
	if err != nil {
		return err
	}
	ledger := newLedger(run.Shape, run.Instance, run.Started)
	for op := schedule.Next(); op.Last() <= upto; op = schedule.Next() {
		blocks := make([]byte, op.Count*BlockSize)
		for i := range op.Count {
			ledger.enter(op, i).Encode(blocks[i*BlockSize : (i+1)*BlockSize])
		}
		if _, err := files[op.Area].WriteAt(blocks, int64(op.First)*BlockSize); err != nil {
			return fmt.Errorf("replay sequence number %d: %w", op.Seq, err)
		}
	}
	return nil
}

func replayable(run Run, upto uint64, size int64, disks int) error {
	if run.Shape.Mode != ModeRaw {
		return errors.New("only raw mode can be replayed: a file system decides by itself where its blocks go")
	}
	if disks != run.Shape.Disks {
		return fmt.Errorf("%d files for %d disks", disks, run.Shape.Disks)
	}
	if size < int64(run.Shape.Span)*BlockSize {
		return fmt.Errorf("%d bytes are less than the %d blocks written to", size, run.Shape.Span)
	}
	if ack, ok := run.ackedAt(upto); upto != 0 && (!ok || ack.Seq != upto) {
		return fmt.Errorf("sequence number %d is not the end of a logged operation", upto)
	}
	return nil
}
