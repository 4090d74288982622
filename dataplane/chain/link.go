package chain

import (
	"fmt"
	"time"

	"farshore"
	"farshore/dataplane/segment"
)

// Stream is what every segment of a generation has in common.
type Stream struct {
	Vault      segment.VaultID
	Machine    farshore.MachineID
	Generation farshore.Generation
}

// Link is the end of one segment, as the next one sees it.
type Link struct {
	Stream   Stream
	Position farshore.Position
	Hash     segment.Hash
	LastLSN  farshore.LSN
	Clean    bool // the end is a state of the whole machine
	Seal     bool // the epoch ends here
	UTC      time.Time
	Disks    []segment.Disk
}

// Start is the link in front of a generation's first segment: the seal of an epoch 0 that holds nothing.
func Start(s Stream) Link {
	return Link{Stream: s, Position: farshore.Position{Generation: s.Generation}, Seal: true}
}

// LinkOf makes the link of a segment that was accepted.
func LinkOf(h segment.Header, hash segment.Hash) Link {
	return Link{
		Stream:   Stream{Vault: h.Vault, Machine: h.Machine, Generation: h.Generation},
		Position: h.Position(), Hash: hash, LastLSN: h.LastLSN, Clean: h.Clean(), Seal: h.Seal, UTC: h.UTC, Disks: h.Disks,
	}
}

// Next is the position of whatever follows: the next epoch is entered only through a seal.
func (l Link) Next() farshore.Position {
	if l.Seal {
		return farshore.Position{Generation: l.Position.Generation, Epoch: l.Position.Epoch + 1, Seq: 1}
	}
	return farshore.Position{Generation: l.Position.Generation, Epoch: l.Position.Epoch, Seq: l.Position.Seq + 1}
}

// Break says why a segment does not follow on the one in front of it.
type Break struct {
	Position farshore.Position // of the segment that does not follow
	What     string
}

// Error gives the break on one line.
func (b *Break) Error() string {
	return fmt.Sprintf("segment %v breaks the chain: %s", b.Position, b.What)
}

// Accept checks that a segment with this header follows: same stream, next position, our hash as its previous, and log
// records that go on where ours ended, unless the segment says that they jump. The hash chain and the LSNs are checked
// apart: the chain is made by the server and would hide a hole in what it was given. The error is a *[Break].
func (l Link) Accept(h segment.Header) error {
	broken := func(what string, args ...any) error {
		return &Break{Position: h.Position(), What: fmt.Sprintf(what, args...)}
	}
	if s := (Stream{h.Vault, h.Machine, h.Generation}); s != l.Stream {
		return broken("it belongs to machine %s, generation %d of vault %v, not to machine %s, generation %d of vault %v",
			s.Machine, s.Generation, s.Vault, l.Stream.Machine, l.Stream.Generation, l.Stream.Vault)
	}
	if want := l.Next(); h.Position() != want {
		return broken("behind %v comes %v", l.Position, want)
	}
	if h.Previous != l.Hash {
		return broken("it follows on a segment with the hash %v, %v has %v", h.Previous, l.Position, l.Hash)
	}
	if h.Jump {
		if h.FirstLSN <= l.LastLSN {
			return broken("its records begin again at %d, behind %d", h.FirstLSN, l.LastLSN)
		}
		return nil
	}
	if h.FirstLSN != l.LastLSN+1 {
		return broken("its records begin at %d, those in front end at %d", h.FirstLSN, l.LastLSN)
	}
	return nil
}

// SealHeader is the header of the seal that would stand at Next: it ends the link's own epoch or, if the link is itself a
// seal, the next one, which then holds nothing. Whoever seals behind the same link makes the same bytes.
func (l Link) SealHeader() segment.Header {
	p := l.Next()
	return segment.Header{
		Vault: l.Stream.Vault, Machine: l.Stream.Machine, Generation: p.Generation, Epoch: p.Epoch, Seq: p.Seq,
		Previous: l.Hash, FirstLSN: l.LastLSN + 1, LastLSN: l.LastLSN, UTC: l.UTC, Seal: true, Disks: l.Disks,
	}
}

// Walk is a reader's cursor: it takes the contiguous prefix of an epoch, stops at a hole, and enters the next epoch only
// through the seal. The caller gets the blob at Next; if there is none, the reader has come to the end for now.
type Walk struct {
	at Link
}

// NewWalk begins behind a link that was accepted before, or at [Start].
func NewWalk(from Link) *Walk { return &Walk{at: from} }

// Next is the position to get. Nothing else may be read instead.
func (w *Walk) Next() farshore.Position { return w.at.Next() }

// At is the end of what was taken.
func (w *Walk) At() Link { return w.at }

// Take moves the cursor behind the segment found at Next. On an error, a *[Break], it stays where it is.
func (w *Walk) Take(h segment.Header, hash segment.Hash) error {
	if err := w.at.Accept(h); err != nil {
		return err
	}
	w.at = LinkOf(h, hash)
	return nil
}
