package applier

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"farshore"
	"farshore/dataplane/block"
	"farshore/dataplane/chain"
	"farshore/dataplane/hashes"
	"farshore/dataplane/journal"
	"farshore/dataplane/segment"
	"farshore/dataplane/vault/storetest"
)

// signing lets an applier offer hashes.
func (w *world) signing(d *Deps) { d.Signer = w.ca.Node(w.t, farshore.RoleApplier, "rescue-1") }

// ask claims an epoch that asks for hashes of all disks, and gives what the disks of the stream hold in front of it.
func (w *world) ask() (farshore.Epoch, map[farshore.DiskID][]byte) {
	w.t.Helper()
	key, err := journal.NewOfferKey()
	if err != nil {
		w.t.Fatal(err)
	}
	w.asks, w.owes = &key, nil
	for _, d := range w.sizes {
		w.owes = append(w.owes, journal.TicketDisk{ID: d.ID, Sectors: d.Sectors, Owes: true})
	}
	held := map[farshore.DiskID][]byte{}
	for _, d := range w.writer.Durable().Disks {
		held[d.ID] = bytes.Clone(w.content[d.ID])
	}
	w.claim(false)
	return w.writer.Epoch(), held
}

// offered gives the names of what is offered to an epoch.
func (w *world) offered(e farshore.Epoch) (heads, parts []string) {
	w.t.Helper()
	for entry, err := range w.store.List(w.t.Context(), hashes.Prefix(web, 1, e), "") {
		if err != nil {
			w.t.Fatal(err)
		}
		if strings.HasSuffix(entry.Name, ".json") {
			heads = append(heads, entry.Name)
		} else {
			parts = append(parts, entry.Name)
		}
	}
	return heads, parts
}

// judgeOffer compares everything that is offered to an epoch with what the disks held at the seal in front of it.
func (w *world) judgeOffer(e farshore.Epoch, held map[farshore.DiskID][]byte) (chunks int) {
	w.t.Helper()
	heads, parts := w.offered(e)
	secrets := map[uint32]hashes.Secret{}
	for i, name := range heads {
		body, err := w.store.Get(w.t.Context(), name)
		if err != nil {
			w.t.Fatal(err)
		}
		want := journal.HashOffer{Machine: web, Generation: 1, Epoch: e, Number: uint32(i + 1)}
		o, secret, err := journal.ReadOffer(w.ca.Roots(w.t), *w.asks, want, body)
		if err != nil {
			w.t.Fatal(err)
		}
		secrets[o.Number] = secret
	}
	for _, name := range parts {
		body, err := w.store.Get(w.t.Context(), name)
		if err != nil {
			w.t.Fatal(err)
		}
		sealed, err := hashes.Parse(body)
		if err != nil {
			w.t.Fatal(err)
		}
		p, err := sealed.Open(secrets[sealed.Offer])
		if err != nil {
			w.t.Fatal(err)
		}
		disk := held[p.Disk]
		if p.Sectors.Bytes() != int64(len(disk)) || hashes.PartName(web, 1, e, p.Disk, p.Number) != name {
			w.t.Fatalf("%s is part %d of disk %s of %d sectors", name, p.Number, p.Disk, p.Sectors)
		}
		h := secrets[p.Offer].Hasher(p.Disk)
		for i, c := range p.Chunks {
			chunks++
			x := p.Extent(i)
			if want := h.Chunk(uint64(x.Start)/hashes.ChunkSectors, disk[x.Start.Offset():x.End().Offset()]); c != want {
				w.t.Errorf("chunk %v of disk %s is offered as %+v, it was %+v", x, p.Disk, c, want)
			}
		}
	}
	return chunks
}

func TestHashesAreOfferedOfWhatTheReplicaHoldsAtTheSeal(t *testing.T) {
	for seed := range uint64(seeds(t, 4)) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			s, r := fileVault(t)
			w := newWorld(t, seed, s, r)
			w.story(10)
			e, held := w.ask()
			for range 5 { // the applier comes late: the stream has gone on
				w.segment(10, false)
			}
			if err := w.catchUp(t.Context(), w.applier(s, r, w.signing)); err != nil {
				t.Fatal(err)
			}
			w.judge("behind the offer")
			chunks := w.judgeOffer(e, held)
			if heads, parts := w.offered(e); len(heads) != 1 || len(parts) != len(held) {
				t.Errorf("offered: %v, %v; want a head and a part of each of %d disks", heads, parts, len(held))
			}
			t.Logf("%d chunks", chunks)
		})
	}
}

func TestAnOfferIsFinishedByWhoeverComesNextAndNeverWrong(t *testing.T) {
	for n := 1; ; n++ {
		s, r := fileVault(t)
		w := newWorld(t, 3, s, r)
		w.story(4)
		if err := w.catchUp(t.Context(), w.applier(s, r)); err != nil {
			t.Fatal(err)
		}
		e, held := w.ask()
		w.segment(10, false)
		died := false
		fs, fr := storetest.Faulty(s, r, storetest.DieAt(n, &died))
		if err := w.catchUp(t.Context(), w.applier(fs, fr, w.signing)); err != nil && !errors.Is(err, storetest.ErrDead) {
			t.Fatalf("death before change %d: %v", n, err)
		}
		w.judgeOffer(e, held)
		if err := w.catchUp(t.Context(), w.applier(s, r, w.signing)); err != nil {
			t.Fatal(err)
		}
		w.judge(fmt.Sprintf("death before change %d", n))
		if w.judgeOffer(e, held); t.Failed() || !died {
			t.Logf("%d deaths", n-1)
			return
		}
	}
}

func TestHashesAreOfferedOnlyToTheNewestEpochThatAsksAndDroppedWhenAllIsClean(t *testing.T) {
	s, r := fileVault(t)
	w := newWorld(t, 5, s, r)
	w.sizes = w.sizes[:1]
	w.story(3)
	first, _ := w.ask()
	w.segment(3, false)
	second, held := w.ask()
	a := w.applier(s, r, w.signing)
	if err := w.catchUp(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	if heads, parts := w.offered(first); len(heads)+len(parts) > 0 {
		t.Errorf("offered to an epoch that is over: %v, %v", heads, parts)
	}
	w.offeredAtLast(a, second, true)
	w.judgeOffer(second, held)
	w.segment(3, false)
	if err := w.catchUp(t.Context(), w.applier(s, r, w.signing)); err != nil {
		t.Fatal(err)
	}
	w.offeredAtLast(a, second, true)
	for i := range w.sizes {
		w.sizes[i].Joining = false
	}
	w.segment(1, true)
	if err := w.catchUp(t.Context(), w.applier(s, r, w.signing)); err != nil {
		t.Fatal(err)
	}
	w.offeredAtLast(a, second, false)
}

// offeredAtLast follows until the offer to an epoch is there with all its parts, or gone.
func (w *world) offeredAtLast(a *Applier, e farshore.Epoch, there bool) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := a.followGeneration(ctx, web, 1)
		done <- err
	}()
	for {
		heads, parts := w.offered(e)
		if there == (len(heads) > 0 && len(parts) == len(w.owes)) && (there || len(heads)+len(parts) == 0) {
			break
		}
		if err := wait(ctx, a.poll()); err != nil {
			w.t.Fatal(err)
		}
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		w.t.Fatal(err)
	}
}

func TestAReplicaThatHoldsPagesOfTheFutureOffersNothing(t *testing.T) {
	s, r := fileVault(t)
	w := newWorld(t, 6, s, r)
	w.story(3)
	if err := w.catchUp(t.Context(), w.applier(s, r)); err != nil {
		t.Fatal(err)
	}
	e, _ := w.ask()
	w.segment(1, false)
	d, err := r.Open(t.Context(), chain.ReplicaPrefix(web, 1)+"sda.vhd")
	if err != nil {
		t.Fatal(err)
	}
	stored, err := d.State(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	state, _, err := parseState(d.Name(), stored)
	if err != nil {
		t.Fatal(err)
	}
	state.Intent = w.tail().String() // as an applier leaves it that died in the middle of a window
	body, err := state.encode()
	if err := errors.Join(err, d.Fence(t.Context()), d.SetState(t.Context(), body), d.Close()); err != nil {
		t.Fatal(err)
	}
	if err := w.catchUp(t.Context(), w.applier(s, r, w.signing)); err != nil {
		t.Fatal(err)
	}
	if heads, parts := w.offered(e); len(heads)+len(parts) > 0 {
		t.Errorf("offered: %v, %v", heads, parts)
	}
	w.judge("at the end")
}

// An agent that copies in full is not followed from behind: hashes of what it has sent are of no use.
func TestPartsThatTheAgentHasSentAreNotOffered(t *testing.T) {
	s, r := fileVault(t)
	w := newWorld(t, 7, s, r)
	w.sizes, w.content = []segment.Disk{{ID: "sda", Sectors: 2*hashes.PartSectors - 100}, {ID: "sdb", Sectors: 300}}, nil
	w.commit(&segment.Builder{}, 1, 0, true)
	if err := w.catchUp(t.Context(), w.applier(s, r)); err != nil {
		t.Fatal(err)
	}
	e, _ := w.ask()
	var b segment.Builder
	b.Add(segment.Record{Kind: block.Zero, Extent: block.Extent{Count: hashes.PartSectors}})
	p, err := w.writer.Prepare(&b, segment.Header{FirstLSN: 1, LastLSN: 0, Copy: true, Jump: true, Disks: w.sizes})
	if err := errors.Join(err, w.writer.Commit(t.Context(), p)); err != nil {
		t.Fatal(err)
	}
	if err := w.catchUp(t.Context(), w.applier(s, r, w.signing)); err != nil {
		t.Fatal(err)
	}
	_, parts := w.offered(e)
	want := []string{hashes.PartName(web, 1, e, "sda", 1), hashes.PartName(web, 1, e, "sdb", 0)}
	if !slices.Equal(parts, want) {
		t.Errorf("offered: %v, want %v", parts, want)
	}
}
