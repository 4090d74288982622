package wire

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"farshore"
	"farshore/dataplane/block"
	"farshore/dataplane/segment"
	"farshore/dataplane/session"
	"farshore/fault"
)

var le = binary.LittleEndian

// The flag bits of the messages that have any.
const (
	flagTailClean, flagNewGeneration = 1, 2 // Opened
	flagCopy, flagJump               = 1, 2 // Batch
	flagMarker                       = 1    // Cut
	flagCut, flagClean               = 1, 2 // Durable
	flagDiskClean, flagDiskJoining   = 1, 2 // a disk
)

func flags(a, b bool) byte {
	var f byte
	if a {
		f |= 1
	}
	if b {
		f |= 2
	}
	return f
}

func appendBody(dst []byte, m session.Message) (frameType, []byte, error) {
	switch m := m.(type) {
	case *session.Batch:
		dst, err := appendBatch(dst, m)
		return typeBatch, dst, err
	case *session.Hello:
		dst, err := appendHello(dst, m)
		return typeHello, dst, err
	case *session.Opened:
		dst = le.AppendUint64(dst, m.Session)
		dst = le.AppendUint32(dst, uint32(m.Generation))
		dst = le.AppendUint32(dst, uint32(m.Epoch))
		dst = le.AppendUint64(dst, uint64(m.ResumeLSN))
		dst = le.AppendUint64(dst, uint64(m.WindowBytes))
		dst = appendPosition(dst, m.Last)
		return typeOpened, append(dst, flags(m.TailClean, m.NewGeneration)), nil
	case *session.Cut:
		dst, err := appendCut(dst, m)
		return typeCut, dst, err
	case *session.Cached:
		return typeCached, le.AppendUint64(dst, m.Number), nil
	case *session.Durable:
		return typeDurable, appendDurable(dst, m), nil
	case *session.Fenced:
		return typeFenced, le.AppendUint64(dst, m.Session), nil
	case *session.Refused:
		return typeRefused, appendRefused(dst, m), nil
	case *session.Ping:
		return typePing, dst, nil
	case *session.Pong:
		return typePong, dst, nil
	case *session.Want:
		return typeWant, appendWant(dst, m), nil
	case *session.Offer:
		if len(m.Object) > session.MaxOfferBytes {
			return 0, nil, fmt.Errorf("an offer of %d bytes, at most %d", len(m.Object), session.MaxOfferBytes)
		}
		return typeOffer, append(appendWant(dst, &m.Want), m.Object...), nil
	case *session.Keep:
		if len(m.Object) > session.MaxPointBytes {
			return 0, nil, fmt.Errorf("a point of %d bytes, at most %d", len(m.Object), session.MaxPointBytes)
		}
		return typeKeep, append(dst, m.Object...), nil
	case *session.Kept:
		return typeKept, appendText(dst, m.Why[:min(len(m.Why), session.MaxFaultBytes)]), nil
	}
	return 0, nil, fmt.Errorf("%T is no message of the protocol", m)
}

func appendBatch(dst []byte, b *session.Batch) ([]byte, error) {
	if len(b.Records) > session.MaxBatchRecords {
		return nil, fmt.Errorf("a batch of %d records, at most %d", len(b.Records), session.MaxBatchRecords)
	}
	data := 0
	for i := range b.Records {
		data += len(b.Records[i].Data)
	}
	if data > session.MaxBatchBytes {
		return nil, fmt.Errorf("a batch of %d bytes, at most %d", data, session.MaxBatchBytes)
	}
	dst = slices.Grow(dst, batchHeaderBytes+len(b.Records)*extentBytes+data)
	dst = le.AppendUint64(dst, b.Number)
	dst = le.AppendUint64(dst, uint64(b.FirstLSN))
	dst = le.AppendUint64(dst, uint64(b.LastLSN))
	dst = le.AppendUint64(dst, uint64(b.Boot))
	dst = append(dst, flags(b.Copy, b.Jump), 0)
	dst = le.AppendUint16(dst, uint16(len(b.Records)))
	dst = append(dst, 0, 0, 0, 0)
	for i := range b.Records {
		r := &b.Records[i]
		if r.Extent.Count > segment.MaxExtent {
			return nil, fmt.Errorf("a record of %d sectors, at most %d", r.Extent.Count, segment.MaxExtent)
		}
		dst = le.AppendUint64(dst, uint64(r.Extent.Start))
		dst = le.AppendUint32(dst, uint32(r.Extent.Count))
		dst = le.AppendUint16(dst, r.Disk)
		dst = append(dst, byte(r.Kind), 0)
	}
	for i := range b.Records {
		dst = append(dst, b.Records[i].Data...)
	}
	return dst, nil
}

func appendHello(dst []byte, h *session.Hello) ([]byte, error) {
	if len(h.Ticket) > session.MaxTicketBytes {
		return nil, fmt.Errorf("a ticket of %d bytes, at most %d", len(h.Ticket), session.MaxTicketBytes)
	}
	dst = le.AppendUint64(dst, h.Session)
	dst = appendText(dst, string(h.Machine))
	dst = le.AppendUint16(dst, uint16(len(h.Ticket)))
	dst = append(dst, h.Ticket...)
	return appendDisks(dst, h.Disks)
}

func appendCut(dst []byte, c *session.Cut) ([]byte, error) {
	dst = le.AppendUint64(dst, c.Number)
	dst = le.AppendUint64(dst, uint64(c.Boot))
	dst = le.AppendUint64(dst, uint64(nanoseconds(c.Wall)))
	dst = append(dst, flags(c.Marker, false))
	switch c.Consistency {
	case "":
		dst = append(dst, 0)
	case farshore.CrashConsistent:
		dst = append(dst, 1)
	case farshore.AppConsistent:
		dst = append(dst, 2)
	default:
		return nil, fmt.Errorf("consistency %q is unknown", c.Consistency)
	}
	if len(c.Label) > segment.MaxLabelBytes {
		return nil, fmt.Errorf("a label of %d bytes, at most %d", len(c.Label), segment.MaxLabelBytes)
	}
	return appendDisks(appendText(dst, c.Label), c.Disks)
}

func appendPosition(dst []byte, p farshore.Position) []byte {
	dst = le.AppendUint32(dst, uint32(p.Generation))
	dst = le.AppendUint32(dst, uint32(p.Epoch))
	return le.AppendUint64(dst, uint64(p.Seq))
}

func appendDurable(dst []byte, d *session.Durable) []byte {
	dst = le.AppendUint64(dst, d.Session)
	dst = appendPosition(dst, d.Position)
	dst = append(dst, d.Hash[:]...)
	dst = le.AppendUint64(dst, d.Through)
	dst = le.AppendUint64(dst, uint64(d.LSN))
	dst = le.AppendUint64(dst, uint64(nanoseconds(d.UTC)))
	return append(dst, flags(d.Cut, d.Clean))
}

// appendRefused writes the fault's words. Its cause is told as part of what happened: errors have no bytes of their own.
func appendRefused(dst []byte, r *session.Refused) []byte {
	what := r.Fault.What
	if r.Fault.Err != nil {
		what += ": " + r.Fault.Err.Error()
	}
	dst = append(dst, byte(r.Fault.Kind))
	for _, s := range []string{r.Fault.Code, r.Fault.Subject, what, r.Fault.Remedy} {
		dst = appendText(dst, s[:min(len(s), session.MaxFaultBytes)])
	}
	return dst
}

func appendWant(dst []byte, w *session.Want) []byte {
	return le.AppendUint32(appendText(dst, string(w.Disk)), w.Number)
}

func appendDisks(dst []byte, disks []segment.Disk) ([]byte, error) {
	if len(disks) > segment.MaxDisks {
		return nil, fmt.Errorf("%d disks, at most %d", len(disks), segment.MaxDisks)
	}
	dst = append(dst, byte(len(disks)))
	for _, d := range disks {
		dst = le.AppendUint64(dst, uint64(d.Sectors))
		dst = append(dst, flags(d.Clean, d.Joining))
		dst = appendText(dst, string(d.ID))
	}
	return dst, nil
}

func appendText(dst []byte, s string) []byte {
	return append(le.AppendUint16(dst, uint16(len(s))), s...)
}

// nanoseconds is Unix time; 0 stands for no time.
func nanoseconds(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func (r *Reader) decode(typ frameType) (session.Message, error) {
	if typ == typeBatch {
		if why := r.decodeBatch(); why != "" {
			return nil, &Malformed{Type: byte(typ), What: why}
		}
		return &r.batch, nil
	}
	f := fields{rest: r.body}
	m := f.message(typ)
	if m == nil {
		f.fail("no such type")
	}
	if f.why == "" && len(f.rest) > 0 {
		f.fail(fmt.Sprintf("%d bytes too many", len(f.rest)))
	}
	if f.why != "" {
		return nil, &Malformed{Type: byte(typ), What: f.why}
	}
	return m, nil
}

// decodeBatch reads r.body into r.batch without copying the data. It gives the reason when that cannot be.
func (r *Reader) decodeBatch() string {
	b := r.body
	if len(b) < batchHeaderBytes {
		return "it is shorter than a batch"
	}
	count := int(le.Uint16(b[34:]))
	switch {
	case b[32]&^(flagCopy|flagJump) != 0 || b[33] != 0 || le.Uint32(b[36:]) != 0:
		return "unknown flags or reserved bytes are set"
	case count > session.MaxBatchRecords:
		return fmt.Sprintf("%d records, at most %d", count, session.MaxBatchRecords)
	case len(b) < batchHeaderBytes+count*extentBytes:
		return fmt.Sprintf("it is shorter than its %d extents", count)
	}
	r.batch = session.Batch{
		Number: le.Uint64(b), FirstLSN: farshore.LSN(le.Uint64(b[8:])), LastLSN: farshore.LSN(le.Uint64(b[16:])),
		Boot: time.Duration(le.Uint64(b[24:])), Copy: b[32]&flagCopy != 0, Jump: b[32]&flagJump != 0, Records: r.batch.Records[:0],
	}
	data := b[batchHeaderBytes+count*extentBytes:]
	for at := batchHeaderBytes; at < batchHeaderBytes+count*extentBytes; at += extentBytes {
		e := b[at : at+extentBytes]
		rec := segment.Record{
			Extent: block.Extent{Start: block.Sector(le.Uint64(e)), Count: block.Count(le.Uint32(e[8:]))},
			Disk:   le.Uint16(e[12:]), Kind: block.Kind(e[14]),
		}
		if rec.Kind >= block.Kinds || e[15] != 0 {
			return "an extent is of an unknown kind"
		}
		if rec.Kind == block.Data {
			n := rec.Extent.Count.Bytes()
			if n > int64(len(data)) {
				return "its data is shorter than its extents"
			}
			rec.Data, data = data[:n:n], data[n:]
		}
		r.batch.Records = append(r.batch.Records, rec)
	}
	if len(data) > 0 {
		return fmt.Sprintf("%d bytes of data too many", len(data))
	}
	return ""
}

func (f *fields) message(typ frameType) session.Message {
	switch typ {
	case typeHello:
		return f.hello()
	case typeOpened:
		return f.opened()
	case typeCut:
		return f.cut()
	case typeCached:
		return &session.Cached{Number: f.u64()}
	case typeDurable:
		return f.durable()
	case typeFenced:
		return &session.Fenced{Session: f.u64()}
	case typeRefused:
		return f.refused()
	case typePing:
		return &session.Ping{}
	case typePong:
		return &session.Pong{}
	case typeWant:
		w := f.want()
		return &w
	case typeOffer:
		return &session.Offer{Want: f.want(), Object: f.all()}
	case typeKeep:
		return &session.Keep{Object: f.all()}
	case typeKept:
		return &session.Kept{Why: f.text(session.MaxFaultBytes)}
	case typeBatch:
		return nil
	}
	return nil
}

func (f *fields) want() session.Want {
	return session.Want{Disk: farshore.DiskID(f.text(64)), Number: f.u32()}
}

func (f *fields) hello() *session.Hello {
	h := &session.Hello{Session: f.u64(), Machine: farshore.MachineID(f.text(255)), Ticket: []byte(f.text(session.MaxTicketBytes))}
	h.Disks = f.disks()
	return h
}

func (f *fields) opened() *session.Opened {
	o := &session.Opened{
		Session: f.u64(), Generation: farshore.Generation(f.u32()), Epoch: farshore.Epoch(f.u32()),
		ResumeLSN: farshore.LSN(f.u64()), WindowBytes: int64(f.u64()), Last: f.position(),
	}
	bits := f.flags(flagTailClean | flagNewGeneration)
	o.TailClean, o.NewGeneration = bits&flagTailClean != 0, bits&flagNewGeneration != 0
	return o
}

func (f *fields) position() farshore.Position {
	return farshore.Position{Generation: farshore.Generation(f.u32()), Epoch: farshore.Epoch(f.u32()), Seq: farshore.Seq(f.u64())}
}

func (f *fields) cut() *session.Cut {
	c := &session.Cut{Number: f.u64(), Boot: time.Duration(f.u64()), Wall: f.time()}
	c.Marker = f.flags(flagMarker) != 0
	switch f.u8() {
	case 0:
	case 1:
		c.Consistency = farshore.CrashConsistent
	case 2:
		c.Consistency = farshore.AppConsistent
	default:
		f.fail("unknown consistency")
	}
	c.Label = f.text(segment.MaxLabelBytes)
	c.Disks = f.disks()
	return c
}

func (f *fields) durable() *session.Durable {
	d := &session.Durable{Session: f.u64()}
	d.Position = f.position()
	copy(d.Hash[:], f.take(len(d.Hash)))
	d.Through, d.LSN, d.UTC = f.u64(), farshore.LSN(f.u64()), f.time()
	bits := f.flags(flagCut | flagClean)
	d.Cut, d.Clean = bits&flagCut != 0, bits&flagClean != 0
	return d
}

func (f *fields) refused() *session.Refused {
	kind := fault.Kind(f.u8())
	if kind < fault.Transient || kind > fault.Corrupt {
		f.fail("unknown kind of fault")
	}
	const most = session.MaxFaultBytes
	return &session.Refused{Fault: fault.Fault{Kind: kind, Code: f.text(most), Subject: f.text(most), What: f.text(most), Remedy: f.text(most)}}
}
