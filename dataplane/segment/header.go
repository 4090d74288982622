package segment

import (
	"encoding/hex"
	"fmt"
	"time"

	"farshore"
	"farshore/dataplane/block"
)

// The limits of the format. A segment outside them is neither written nor read.
const (
	MaxDisks        = 128       // disks of one machine
	MaxLabelBytes   = 255       // of Header.Label, UTF-8
	MaxHeaderBytes  = 16 << 10  // enough for ParseHeader, whatever the segment
	MaxSegmentBytes = 64 << 20  // a whole sealed segment
	MaxPlainBytes   = 48 << 20  // what a Builder may hold (Builder.Bytes)
	MaxDiskSectors  = 1 << 47   // 64 PiB
	FrameDataBytes  = 64 << 10  // data of one frame before compression
	MaxFrameExtents = 1 << 10   // extents of one frame
	MaxExtent       = 1<<32 - 1 // sectors of one stored extent; longer ones are cut in pieces
)

// Hash is the SHA-256 of a sealed segment's bytes up to its trailing hash.
type Hash [32]byte

// IsZero reports whether the hash is that of no segment: what the first segment of a generation names as previous.
func (h Hash) IsZero() bool { return h == Hash{} }

// String writes the hash in hexadecimal.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// VaultID names a vault: a random UUID in binary form.
type VaultID [16]byte

// String writes the id in the usual form of a UUID.
func (v VaultID) String() string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", v[0:4], v[4:6], v[6:8], v[8:10], v[10:16])
}

// DataKey encrypts the segments of one epoch. Every sealing derives a key of its own from it and 32 random bytes.
type DataKey [32]byte

// String hides the key from logs.
func (DataKey) String() string { return "[redacted]" }

// GoString hides the key from %#v.
func (DataKey) GoString() string { return "[redacted]" }

// Disk is the state of one disk at the end of a segment.
type Disk struct {
	ID      farshore.DiskID
	Sectors block.Count // the size at the end of the segment
	Clean   bool        // the disk's content at the end of this segment is a state it really had
	Joining bool        // being copied for the first time: not yet part of the machine's points
}

// Header is the plain part of a segment. Times are for people; order is by position only.
type Header struct {
	Vault      VaultID
	Machine    farshore.MachineID
	Generation farshore.Generation
	Epoch      farshore.Epoch
	Seq        farshore.Seq
	Previous   Hash // of the segment or seal before this one; zero for the first of a generation

	// The change records held, both included. Only records of the log consume an LSN, copies of blocks do not.
	// Without such records LastLSN is FirstLSN - 1.
	FirstLSN, LastLSN farshore.LSN

	BootFirst, BootLast time.Duration // the agent's boot clock at the first and the last record
	UTC                 time.Time     // the server's clock at receipt of the end, made monotone within the stream
	Suspect             bool          // the clocks of agent and server disagreed

	Copy   bool // holds copies of blocks besides, or instead of, the log
	Jump   bool // the log is not continuous here: a re-copy begins
	Seal   bool // ends the epoch; nothing behind it is ever read
	Marker bool // closed because somebody asked for a point here

	Consistency farshore.Consistency // of a marker; empty: none was asked for
	Label       string               // of a marker: the words of whoever asked
	Disks       []Disk
}

// Clean reports whether the end of the segment is a state of the whole machine that can be restored:
// every disk that is not joining is clean, and there is one.
func (h Header) Clean() bool {
	found := false
	for _, d := range h.Disks {
		if d.Joining {
			continue
		}
		if !d.Clean {
			return false
		}
		found = true
	}
	return found
}

// Position is the place of the segment's end in its machine's stream.
func (h Header) Position() farshore.Position {
	return farshore.Position{Generation: h.Generation, Epoch: h.Epoch, Seq: h.Seq}
}

// check says why the header can be neither written nor believed.
func (h Header) check() error {
	if _, err := farshore.ParseMachineID(string(h.Machine)); err != nil {
		return err
	}
	switch {
	case h.Generation == 0 || h.Epoch == 0 || h.Seq == 0:
		return fmt.Errorf("position %v: generation, epoch and seq count from 1", h.Position())
	case h.FirstLSN == 0 || h.LastLSN+1 < h.FirstLSN:
		return fmt.Errorf("LSN range %d to %d: want a first of 1 or more and a last of at least first - 1", h.FirstLSN, h.LastLSN)
	case h.Seal && h.LastLSN+1 != h.FirstLSN:
		return fmt.Errorf("a seal holds the records %d to %d: want none", h.FirstLSN, h.LastLSN)
	case h.Seal && (h.Copy || h.Jump || h.Marker):
		return fmt.Errorf("a seal is flagged as copy, jump or marker")
	case len(h.Label) > MaxLabelBytes:
		return fmt.Errorf("label of %d bytes: want at most %d", len(h.Label), MaxLabelBytes)
	case len(h.Disks) > MaxDisks:
		return fmt.Errorf("%d disks: want at most %d", len(h.Disks), MaxDisks)
	}
	if _, ok := consistencyByte(h.Consistency); !ok {
		return fmt.Errorf("consistency %q is unknown", h.Consistency)
	}
	return h.checkDisks()
}

func (h Header) checkDisks() error {
	for i, d := range h.Disks {
		if _, err := farshore.ParseDiskID(string(d.ID)); err != nil {
			return err
		}
		if d.Sectors > MaxDiskSectors {
			return fmt.Errorf("disk %s has %d sectors: want at most %d", d.ID, d.Sectors, int64(MaxDiskSectors))
		}
		for _, other := range h.Disks[:i] {
			if other.ID == d.ID {
				return fmt.Errorf("disk %s is named twice", d.ID)
			}
		}
	}
	return nil
}

func consistencyByte(c farshore.Consistency) (byte, bool) {
	switch c {
	case "":
		return 0, true
	case farshore.CrashConsistent:
		return 1, true
	case farshore.AppConsistent:
		return 2, true
	}
	return 0, false
}

func consistencyOf(b byte) (farshore.Consistency, bool) {
	for _, c := range []farshore.Consistency{"", farshore.CrashConsistent, farshore.AppConsistent} {
		if v, _ := consistencyByte(c); v == b {
			return c, true
		}
	}
	return "", false
}
