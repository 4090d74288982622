package journaltest

import (
	"bytes"
	"math/rand/v2"
	"time"

	"farshore"
	"farshore/dataplane/block"
	"farshore/dataplane/credential"
	"farshore/dataplane/journal"
	"farshore/dataplane/segment"
)

// Content is what disks hold, in bytes.
type Content map[farshore.DiskID][]byte

// Machine is a replicated machine's stream, and the truth about its disks.
type Machine struct {
	ID      farshore.MachineID
	Sizes   []segment.Disk // now; a change takes effect by Resize
	Content Content        // now
	Points  map[farshore.Position]Content
	Order   []farshore.Position // of Points
	Writer  *journal.Writer     // of the newest claim
	Clock   time.Time           // of the next segments, to which each adds nanoseconds
	Random  *rand.Rand

	Asks *journal.OfferKey    // the next claims ask for hashes
	Owes []journal.TicketDisk // of these disks

	vault   *Vault
	agent   *credential.Node
	session uint64
}

// Machine begins the stream of a machine with these disks. The source replays what it will write.
func (v *Vault) Machine(id farshore.MachineID, random *rand.Rand, disks ...segment.Disk) *Machine {
	v.t.Helper()
	m := &Machine{
		ID: id, Sizes: disks, Points: map[farshore.Position]Content{}, Random: random, Clock: time.Unix(1_790_000_000, 0).UTC(),
		vault: v, agent: v.CA.Node(v.t, farshore.RoleAgent, string(id)),
	}
	m.Claim(false)
	return m
}

// Claim begins an epoch, or a generation whose disks are empty.
func (m *Machine) Claim(generation bool) {
	t := m.vault.t
	t.Helper()
	m.session++
	ticket := journal.Ticket{
		Machine: m.ID, Server: "hq-1", Session: m.session, Instance: "instance-1", Capture: "capture-1", BootID: "boot-1",
		NewGeneration: generation, Disks: []journal.TicketDisk{{ID: m.Sizes[0].ID, Sectors: m.Sizes[0].Sectors}}, Time: time.Now(),
	}
	if m.Asks != nil {
		ticket.Hashes, ticket.Disks = m.Asks.Public(), m.Owes
	}
	signed, err := journal.SignTicket(m.agent, ticket)
	if err != nil {
		t.Fatal(err)
	}
	writer, resume, err := journal.Claim(t.Context(), m.vault.Deps(farshore.RoleProcessServer, "hq-1"), signed)
	if err != nil {
		t.Fatal(err)
	}
	m.Writer = writer
	if resume.NewGeneration {
		m.Content = Content{}
		m.Resize()
	}
}

// Resize makes the contents as long as the disks are now.
func (m *Machine) Resize() {
	for _, d := range m.Sizes {
		now := make([]byte, d.Sectors.Bytes())
		copy(now, m.Content[d.ID])
		m.Content[d.ID] = now
	}
}

// Segment commits one segment of n random writes.
func (m *Machine) Segment(n int, clean bool) farshore.Position {
	m.vault.t.Helper()
	var b segment.Builder
	lsn := m.Writer.Tip().LastLSN
	first := lsn + 1
	for range n {
		i := m.Random.IntN(len(m.Sizes))
		r := m.Record(uint16(i))
		b.Add(r)
		lsn++
		at := m.Content[m.Sizes[i].ID][r.Extent.Start.Offset():r.Extent.End().Offset()]
		clear(at)
		copy(at, r.Data)
	}
	return m.Commit(&b, first, lsn, clean)
}

// Commit makes a segment durable. If it is clean, what the disks hold now is the truth of a recovery point.
func (m *Machine) Commit(b *segment.Builder, first, last farshore.LSN, clean bool) farshore.Position {
	t := m.vault.t
	t.Helper()
	disks := make([]segment.Disk, len(m.Sizes))
	for i, d := range m.Sizes {
		d.Clean = clean
		disks[i] = d
	}
	p, err := m.Writer.Prepare(b, segment.Header{FirstLSN: first, LastLSN: last, UTC: m.Clock.Add(time.Duration(last)), Disks: disks})
	if err == nil {
		err = m.Writer.Commit(t.Context(), p)
	}
	if err != nil {
		t.Fatal(err)
	}
	position := p.Header.Position()
	if clean {
		point := Content{}
		for _, d := range disks {
			if !d.Joining {
				point[d.ID] = bytes.Clone(m.Content[d.ID])
			}
		}
		m.Points[position] = point
		m.Order = append(m.Order, position)
	}
	return position
}

// Record draws a write: mostly data of a few sectors, sometimes zeros or a discard of many.
func (m *Machine) Record(disk uint16) segment.Record {
	size := int(m.Sizes[disk].Sectors)
	n, kind := 1+m.Random.IntN(9), block.Data
	switch m.Random.IntN(8) {
	case 0:
		kind, n = block.Zero, 1+m.Random.IntN(min(900, size))
	case 1:
		kind, n = block.Unspecified, 1+m.Random.IntN(min(200, size))
	}
	r := segment.Record{Disk: disk, Kind: kind, Extent: block.Extent{Start: block.Sector(m.Random.IntN(size - n + 1)), Count: block.Count(n)}}
	if kind == block.Data {
		r.Data = make([]byte, r.Extent.Count.Bytes())
		for i := range r.Data {
			r.Data[i] = byte(m.Random.Uint32())
		}
	}
	return r
}

// Last is the newest recovery point.
func (m *Machine) Last() farshore.Position { return m.Order[len(m.Order)-1] }
