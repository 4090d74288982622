package session

import (
	"time"

	"farshore"
	"farshore/dataplane/block"
	"farshore/dataplane/segment"
	"farshore/fault"
)

// The limits of messages. What is outside them is neither sent nor taken.
const (
	MaxBatchRecords = 1024
	MaxBatchBytes   = 960 << 10 // data of one batch
	MaxTicketBytes  = 16 << 10  // a signed ticket, in JSON
	MaxFaultBytes   = 1 << 10   // each text of a Refused
	MaxOfferBytes   = 128 << 10 // the object in an Offer
	MaxPointBytes   = 256 << 10 // the object in a Keep
	recordBytes     = 16        // of a record besides its data, on the line
)

// Message is what one end tells the other.
type Message interface{ message() }

// Hello opens a session; it is the agent's first message.
type Hello struct {
	Machine farshore.MachineID
	Session uint64 // the agent counts its sessions; a higher number is newer
	Ticket  []byte // the signed ticket that lets the server claim an epoch; the session does not look inside
	// Disks gives the disks their numbers for the records, and their sizes. Clean is not looked at.
	Disks []segment.Disk
}

// Opened tells the agent where the stream goes on.
type Opened struct {
	Session    uint64
	Generation farshore.Generation
	Epoch      farshore.Epoch
	ResumeLSN  farshore.LSN // the last LSN of the stream; the next batch begins behind it
	// Last is the last segment of the stream that is no seal. Of what lies behind it the vault holds nothing, whatever was acknowledged.
	Last          farshore.Position
	TailClean     bool  // the stream ends at a state of the whole machine
	NewGeneration bool  // the stream is empty: a full copy is due
	WindowBytes   int64 // how much may be under way before Cached
}

// Batch carries records in the order in which they shall be applied.
type Batch struct {
	Number uint64
	Copy   bool // copies of blocks: no LSN is consumed
	Jump   bool // a re-copy begins: the log in front of this batch may have a hole
	// FirstLSN is the LSN of the first record, one for each. With Copy, LastLSN is FirstLSN - 1.
	FirstLSN, LastLSN farshore.LSN
	Boot              time.Duration // the agent's boot clock when the last record was written or read
	Records           []segment.Record
}

// Bytes is how much the batch carries.
func (b *Batch) Bytes() int64 {
	n := int64(len(b.Records)) * recordBytes
	for i := range b.Records {
		n += int64(len(b.Records[i].Data))
	}
	return n
}

// Cut closes the segment under way. If its disks are clean, its end is a recovery point.
type Cut struct {
	Number      uint64
	Marker      bool // somebody asked for this point
	Consistency farshore.Consistency
	Label       string
	Boot        time.Duration // the agent's boot clock at the cut
	Wall        time.Time     // the agent's calendar at the cut; only compared, never used for order
	// Disks are the disks of the Hello, in its order, as they are at the cut: size, clean, joining.
	Disks []segment.Disk
}

// What a message costs in the server's memory until it is cached, besides the data of its records.
const (
	messageCost = 256     // to remember it
	recordCost  = 48      // to keep a record in its place
	segmentCost = 8 << 10 // to begin a segment, which a cut or a jump makes the server do
	diskCost    = 128     // to keep a disk's name and state with a segment
)

// Cost is how much of the window a message takes in a session of so many disks.
func Cost(m Message, disks int) int64 {
	switch m := m.(type) {
	case *Batch:
		n := messageCost + int64(len(m.Records))*recordCost
		for i := range m.Records {
			n += int64(len(m.Records[i].Data))
		}
		if m.Jump {
			n += segmentCost + int64(disks)*diskCost
		}
		return n
	case *Cut:
		return messageCost + segmentCost + int64(disks)*diskCost
	default:
		return 0
	}
}

// Cached says that everything up to Number is on the server's own disk.
type Cached struct{ Number uint64 }

// Durable says that a segment is in the vault, with everything up to the message Through. Segments are named in order.
type Durable struct {
	Session  uint64
	Position farshore.Position
	Hash     segment.Hash // of the segment
	Through  uint64       // the last batch or cut inside
	LSN      farshore.LSN // the last LSN inside
	Cut      bool         // the segment ends with the cut Through
	Clean    bool         // its end is a recovery point
	UTC      time.Time    // of its end on the stream's axis
}

// Fenced says that another writer has taken the stream. The session is over; a new one may follow.
type Fenced struct{ Session uint64 }

// Refused ends a session, or refuses to open it, and says why.
type Refused struct{ Fault fault.Fault }

// Want asks for a piece of what a sink has offered for this session's epoch (package hashes): a part of a disk, or, with no
// disk, the head of an offer. One is asked for at a time.
type Want struct {
	Disk   farshore.DiskID
	Number uint32 // of the part, from 0; of the offer, from 1
}

// Offer answers a Want. The session does not look into the object; without one there is nothing to be had, perhaps yet.
type Offer struct {
	Want
	Object []byte
}

// Keep gives the server a point that the machine has made with others, to be put into the vault. One is given at a time.
type Keep struct{ Object []byte }

// Kept answers a Keep: the point is in the vault, or Why says what keeps it out.
type Kept struct{ Why string }

// Ping asks for a Pong, so that either end notices when the other is gone.
type Ping struct{}

// Pong answers a Ping.
type Pong struct{}

func (*Hello) message()   {}
func (*Opened) message()  {}
func (*Batch) message()   {}
func (*Cut) message()     {}
func (*Cached) message()  {}
func (*Durable) message() {}
func (*Fenced) message()  {}
func (*Refused) message() {}
func (*Want) message()    {}
func (*Offer) message()   {}
func (*Keep) message()    {}
func (*Kept) message()    {}
func (*Ping) message()    {}
func (*Pong) message()    {}

// checkBatch says why a batch makes no sense for these disks, or gives "".
func checkBatch(b *Batch, disks []segment.Disk) string {
	switch {
	case len(b.Records) > MaxBatchRecords:
		return "it has more records than fit a batch"
	case b.FirstLSN == 0 || b.LastLSN+1 < b.FirstLSN:
		return "its LSN range runs backwards"
	case b.Copy && b.LastLSN+1 != b.FirstLSN:
		return "copies consume no LSN"
	case !b.Copy && uint64(b.LastLSN+1-b.FirstLSN) != uint64(len(b.Records)):
		return "its LSNs are not one for each record"
	}
	for i := range b.Records {
		if why := checkRecord(&b.Records[i], disks); why != "" {
			return why
		}
	}
	return ""
}

func checkRecord(r *segment.Record, disks []segment.Disk) string {
	e := r.Extent
	switch {
	case int(r.Disk) >= len(disks):
		return "a record is for a disk that the session does not have"
	case r.Kind >= block.Kinds:
		return "a record is of an unknown kind"
	case e.Empty() || e.End() < e.Start || uint64(e.End()) > uint64(disks[r.Disk].Sectors):
		return "a record does not lie on its disk"
	case r.Kind == block.Data && int64(len(r.Data)) != e.Count.Bytes(), r.Kind != block.Data && len(r.Data) != 0:
		return "a record has another length than its extent"
	}
	return ""
}

// checkDisks says why a table of disks cannot be, or gives "".
func checkDisks(disks []segment.Disk) string {
	if len(disks) == 0 || len(disks) > segment.MaxDisks {
		return "it names no disk, or too many"
	}
	for i, d := range disks {
		if _, err := farshore.ParseDiskID(string(d.ID)); err != nil {
			return "a disk has an impossible name"
		}
		if d.Sectors == 0 || d.Sectors > segment.MaxDiskSectors {
			return "a disk has an impossible size"
		}
		for _, other := range disks[:i] {
			if other.ID == d.ID {
				return "a disk is named twice"
			}
		}
	}
	return ""
}

// checkCut says why a cut does not fit the disks of the session, or gives "".
func checkCut(c *Cut, disks []segment.Disk) string {
	if len(c.Disks) != len(disks) {
		return "it does not name the session's disks"
	}
	for i := range disks {
		if c.Disks[i].ID != disks[i].ID {
			return "it does not name the session's disks in their order"
		}
	}
	if why := checkDisks(c.Disks); why != "" {
		return why
	}
	switch c.Consistency {
	case "", farshore.CrashConsistent, farshore.AppConsistent:
	default:
		return "its consistency is unknown"
	}
	if len(c.Label) > segment.MaxLabelBytes {
		return "its label is too long"
	}
	return ""
}
