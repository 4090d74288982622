package applier

import (
	"encoding/hex"
	"fmt"

	"farshore"
	"farshore/dataplane/chain"
	"farshore/dataplane/document"
	"farshore/dataplane/segment"
	"farshore/fault"
)

// stateVersion is the version of a disk's state and of a checkpoint's manifest.
const stateVersion = 1

// cursor is the stored form of a place in a stream: all that is needed to go on reading behind it.
type cursor struct {
	Position string       `json:"position"` // g1.e2.s345
	Hash     string       `json:"hash"`     // of the segment or seal there
	LSN      farshore.LSN `json:"lsn"`
	Seal     bool         `json:"seal,omitempty"`
}

func cursorOf(l chain.Link) cursor {
	return cursor{Position: l.Position.String(), Hash: l.Hash.String(), LSN: l.LastLSN, Seal: l.Seal}
}

// link is the inverse of cursorOf, as far as reading on needs it.
func (c cursor) link(s chain.Stream) (chain.Link, error) {
	p, err := farshore.ParsePosition(c.Position)
	if err != nil {
		return chain.Link{}, err
	}
	l := chain.Link{Stream: s, Position: p, LastLSN: c.LSN, Seal: c.Seal}
	if n, err := hex.Decode(l.Hash[:], []byte(c.Hash)); err != nil || n != len(segment.Hash{}) {
		return chain.Link{}, fmt.Errorf("read a cursor: %q is no hash", c.Hash)
	}
	return l, nil
}

// diskState is what a replica disk knows of itself.
type diskState struct {
	Version  int    `json:"version"`
	Vault    string `json:"vault"`
	Machine  string `json:"machine"`
	Disk     string `json:"disk"`
	Applied  cursor `json:"applied"`          // the disk holds everything up to here
	Intent   string `json:"intent"`           // and perhaps pages of what comes behind, up to here
	Segments int64  `json:"segments"`         // read since the last checkpoint
	Runs     int64  `json:"runs"`             // requests written since then
	Bytes    int64  `json:"bytes"`            // and their bytes
	Target   string `json:"target,omitempty"` // of a run's disk that stands there and is getting its footer
	Made     bool   `json:"made,omitempty"`   // it has its footer

	Rebuilt uint64 `json:"rebuilt,omitempty"` // of a replica disk: the rebuild that it was made for
}

func (s diskState) encode() ([]byte, error) { return document.Encode(s) }

// applied says how far the disk was brought along a stream.
func (s diskState) applied(stream chain.Stream) (chain.Applied, error) {
	at, err := s.Applied.link(stream)
	if err != nil {
		return chain.Applied{}, err
	}
	intent, err := farshore.ParsePosition(s.Intent)
	return chain.Applied{At: at, Intent: intent}, err
}

// parseState reads the state of a disk. A disk that was just created has none: ok is false.
func parseState(name string, stored []byte) (s diskState, ok bool, err error) {
	if len(stored) == 0 {
		return s, false, nil
	}
	err = document.Decode(stored, &s)
	if err == nil && s.Version != stateVersion {
		err = fmt.Errorf("version %d, this program knows %d", s.Version, stateVersion)
	}
	if err != nil {
		return s, false, damagedReplica(name, "its state cannot be read", err)
	}
	return s, true, nil
}

func damagedReplica(name, what string, err error) error {
	return &fault.Fault{
		Code: "FS-4006", Kind: fault.Corrupt, Subject: "replica disk " + name, What: what,
		Remedy: "have it made anew from the journal: farshore machine rebuild NAME", Err: err,
	}
}
