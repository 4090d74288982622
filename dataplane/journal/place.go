package journal

import (
	"encoding/hex"
	"fmt"
	"time"

	"farshore"
	"farshore/dataplane/block"
	"farshore/dataplane/chain"
	"farshore/dataplane/segment"
)

// place is the stored form of a link: all that is needed to go on reading behind it.
type place struct {
	Position string       `json:"position"` // g1.e2.s345
	Hash     string       `json:"hash"`     // of the segment or seal there; zeros at the start of a generation
	LSN      farshore.LSN `json:"lsn"`
	UTC      time.Time    `json:"utc,omitzero"`
	Clean    bool         `json:"clean,omitempty"`
	Seal     bool         `json:"seal,omitempty"`
	Disks    []placeDisk  `json:"disks,omitempty"`
}

type placeDisk struct {
	ID      farshore.DiskID `json:"id"`
	Sectors block.Count     `json:"sectors"`
	Clean   bool            `json:"clean,omitempty"`
	Joining bool            `json:"joining,omitempty"`
}

func placeOf(l chain.Link) place {
	p := place{Position: l.Position.String(), Hash: l.Hash.String(), LSN: l.LastLSN, UTC: l.UTC, Clean: l.Clean, Seal: l.Seal}
	for _, d := range l.Disks {
		p.Disks = append(p.Disks, placeDisk(d))
	}
	return p
}

// link is the inverse of placeOf.
func (p place) link(s chain.Stream) (chain.Link, error) {
	at, err := farshore.ParsePosition(p.Position)
	if err != nil {
		return chain.Link{}, err
	}
	if at.Generation != s.Generation {
		return chain.Link{}, fmt.Errorf("a place at %v in a document of generation %d", at, s.Generation)
	}
	l := chain.Link{Stream: s, Position: at, LastLSN: p.LSN, UTC: p.UTC, Clean: p.Clean, Seal: p.Seal}
	if n, err := hex.Decode(l.Hash[:], []byte(p.Hash)); err != nil || n != len(segment.Hash{}) {
		return chain.Link{}, fmt.Errorf("read a place: %q is no hash", p.Hash)
	}
	for _, d := range p.Disks {
		l.Disks = append(l.Disks, segment.Disk(d))
	}
	return l, nil
}
