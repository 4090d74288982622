package formats

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"farshore/dataplane/hashes"
	"farshore/dataplane/journal"
	"farshore/dataplane/segment"
)

func TestHashesV1AreReadAndWrittenAsTheyWere(t *testing.T) {
	secret := hashes.Secret(count(7))
	p := &hashes.Part{
		Vault: segment.VaultID{0x0f, 0xa5, 1, 2, 3, 4, 0x45, 6, 0x87, 8, 9, 10, 11, 12, 13, 14}, Machine: "web-01",
		Generation: 1, Epoch: 3, Offer: 2, Disk: "S3EVNX0K100", Number: 1, Sectors: hashes.PartSectors + 10*hashes.ChunkSectors + 1,
	}
	h := secret.Hasher(p.Disk)
	for i := range hashes.ChunksOf(p.Number, p.Sectors) {
		e := p.Extent(i)
		chunk := bytes.Repeat([]byte("farshore"), int(e.Count.Bytes())/8)
		if i == 4 || i == 9 {
			clear(chunk)
		}
		p.Chunks = append(p.Chunks, h.Chunk(uint64(e.Start)/hashes.ChunkSectors, chunk))
	}
	sealed, err := p.Seal(secret)
	if err != nil {
		t.Fatal(err)
	}
	s, err := hashes.Parse(golden(t, "hashes-v1.fsh", sealed))
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.Open(secret)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(p, got); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

func TestTheHeadOfAnOfferV1HasTheFieldsItHad(t *testing.T) {
	o := journal.HashOffer{
		Version: 1, Vault: "0fa50102-0304-4506-8708-090a0b0c0d0e", Machine: "web-01", Generation: 1, Epoch: 3, Number: 2, At: "g1.e2.s345",
		Disks:  []journal.OfferedDisk{{ID: "S3EVNX0K100", Sectors: 1 << 21, From: 1}},
		Secret: journal.SealedSecret{Encapsulated: []byte{1}, Sealed: []byte{2}}, Time: time.Date(2026, 11, 26, 15, 0, 0, 0, time.UTC),
	}
	body, err := json.MarshalIndent(o, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	var read journal.HashOffer
	if err := json.Unmarshal(golden(t, "offer-v1.json", append(body, '\n')), &read); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(o, read); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

func TestATicketThatAsksForHashesHasTheFieldsItHad(t *testing.T) {
	ticket := journal.Ticket{
		Version: 1, Machine: "web-01", Server: "hq-1", Session: 7, Instance: "i", Capture: "c", BootID: "b", Time: time.Date(2026, 11, 26, 15, 0, 0, 0, time.UTC),
		Disks: []journal.TicketDisk{{ID: "S3EVNX0K100", Sectors: 1 << 21, Owes: true, From: 4096}, {ID: "nvme.2_eui", Sectors: 2048}}, Hashes: []byte{1, 2, 3},
	}
	body, err := json.MarshalIndent(ticket, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "ticket-hashes-v1.json", append(body, '\n'))
	ticket.Compares = true
	if body, err = json.MarshalIndent(ticket, "", "  "); err != nil {
		t.Fatal(err)
	}
	golden(t, "ticket-compares-v1.json", append(body, '\n'))
}
