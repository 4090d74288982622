package agent

import (
	"context"
	"errors"
	"fmt"
	"io"

	"farshore/dataplane/block"
	"farshore/dataplane/disk"
	"farshore/dataplane/host"
	"farshore/dataplane/segment"
	"farshore/dataplane/session"
	"farshore/dataplane/tracker/scan"
	"farshore/fault"
)

// pieceBytes is what is read at once.
const pieceBytes = scan.ChunkSectors * block.SectorSize

// grain is the size at which zeros are told from data.
const grain = 4096

// pieceRecords is how many records a piece can become.
const pieceRecords = pieceBytes / grain

// batch gathers pieces until they fill a message.
type batch struct {
	records []segment.Record
	buffer  []byte
	used    int
}

// room gives memory for one more piece, or nil when the batch is full.
func (b *batch) room() []byte {
	if b.buffer == nil {
		b.buffer = disk.Buffer(session.MaxBatchBytes &^ (grain - 1))
	}
	if len(b.buffer)-b.used < pieceBytes || len(b.records)+pieceRecords > session.MaxBatchRecords {
		return nil
	}
	return b.buffer[b.used : b.used+pieceBytes]
}

// read reads one extent, at most a piece, of a disk into memory that is aligned and has room.
func (s *source) read(e block.Extent, into []byte) ([]byte, error) {
	want := int(e.Count.Bytes())
	padded := min((want+disk.Alignment-1)&^(disk.Alignment-1), len(into))
	n, err := s.device.ReadAt(into[:padded], e.Start.Offset())
	if n < want {
		return nil, &fault.Fault{
			Code: "FS-1012", Kind: fault.Operator, Subject: "disk " + string(s.id),
			What:   fmt.Sprintf("%d bytes at %d cannot be read, so it cannot be replicated", want, e.Start.Offset()),
			Remedy: "look at the kernel's log: the disk may be failing, or was taken away; the agent goes on trying", Err: errors.Join(err, io.ErrUnexpectedEOF),
		}
	}
	s.track.Sent(e, into[:want])
	if s.seen != nil {
		s.seen.Mark(e)
	}
	return into[:want], nil
}

// split makes records of what was read. Zeros become records of their own kind, or nothing at all.
func split(records []segment.Record, index uint16, e block.Extent, read []byte, keepZeros bool) []segment.Record {
	for at := 0; at < len(read); {
		end, zero := at, block.AllZero(read[at:min(at+grain, len(read))])
		for end < len(read) && block.AllZero(read[end:min(end+grain, len(read))]) == zero {
			end = min(end+grain, len(read))
		}
		part := block.Extent{Start: e.Start + block.Sector(at/block.SectorSize), Count: block.Count((end - at) / block.SectorSize)}
		switch {
		case !zero:
			records = append(records, segment.Record{Disk: index, Extent: part, Kind: block.Data, Data: read[at:end]})
		case keepZeros:
			records = appendZero(records, index, part)
		}
		at = end
	}
	return records
}

// appendZero lengthens the last record if the zeros go on.
func appendZero(records []segment.Record, index uint16, e block.Extent) []segment.Record {
	if n := len(records); n > 0 {
		last := &records[n-1]
		if last.Disk == index && last.Kind == block.Zero && last.Extent.End() == e.Start && uint64(last.Extent.Count+e.Count) < segment.MaxExtent {
			last.Extent.Count += e.Count
			return records
		}
	}
	return append(records, segment.Record{Disk: index, Extent: e, Kind: block.Zero})
}

// put reads an extent into the batch, sending it first if it is full. It gives the number of the message that the extent
// goes out with.
func (s *sending) put(ctx context.Context, from *source, e block.Extent, keepZeros bool) (message uint64, err error) {
	room := s.batch.room()
	if room == nil {
		if err := s.flush(ctx); err != nil {
			return 0, err
		}
		room = s.batch.room()
	}
	read, err := from.read(e, room)
	if err != nil {
		return 0, err
	}
	before := len(s.batch.records)
	s.batch.records = split(s.batch.records, from.index, e, read, keepZeros)
	for _, r := range s.batch.records[before:] {
		if r.Kind == block.Data {
			s.batch.used += (len(read) + grain - 1) &^ (grain - 1)
			break
		}
	}
	s.agent.note(func(o *Observed) { o.Read += int64(len(read)) })
	return s.last + 1, nil
}

// flush sends the batch, if it holds anything.
func (s *sending) flush(ctx context.Context) error {
	if len(s.batch.records) == 0 {
		return nil
	}
	err := s.send(ctx, s.batch.records)
	s.batch.records, s.batch.used = s.batch.records[:0], 0
	return err
}

// send sends records as one message of copies.
func (s *sending) send(ctx context.Context, records []segment.Record) error {
	boot, err := host.BootClock()
	if err != nil {
		return err
	}
	b := &session.Batch{Copy: true, Jump: s.jump, Boot: boot, Records: records}
	s.specify(records)
	if s.last, err = s.link.Send(ctx, b); err != nil {
		return err
	}
	s.jump, s.owesCut = false, true
	s.agent.note(func(o *Observed) {
		o.Sent += b.Bytes()
		o.Resync.sent(b.Bytes())
	})
	return nil
}

// sendTodo sends what is to be sent, under load.
func (s *sending) sendTodo(ctx context.Context) error {
	for _, from := range s.sources {
		for at := block.Sector(0); ; {
			run, ok := from.todo.next(at)
			if !ok {
				break
			}
			from.todo.remove(run) // before the read: a change from here on is in the next exchange
			if _, err := s.put(ctx, from, run, true); err != nil {
				return err
			}
			at = run.End()
		}
	}
	return s.flush(ctx)
}
