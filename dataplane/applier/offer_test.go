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
	"farshore/dataplane/host"
	"farshore/dataplane/journal"
	"farshore/dataplane/segment"
	"farshore/dataplane/vault/storetest"
	"farshore/tests/setting"
)

// signing lets an applier offer hashes.
func (w *world) signing(d *Deps) { d.Signer = w.vault.CA.Node(w.t, farshore.RoleApplier, "rescue-1") }

// ask claims an epoch that asks for hashes of all disks, and gives what the disks of the stream hold in front of it.
func (w *world) ask() (farshore.Epoch, map[farshore.DiskID][]byte) {
	w.t.Helper()
	key, err := journal.NewOfferKey()
	if err != nil {
		w.t.Fatal(err)
	}
	w.Asks, w.Owes = &key, nil
	for _, d := range w.Sizes {
		w.Owes = append(w.Owes, journal.TicketDisk{ID: d.ID, Sectors: d.Sectors, Owes: true})
	}
	held := map[farshore.DiskID][]byte{}
	for _, d := range w.Writer.Durable().Disks {
		held[d.ID] = bytes.Clone(w.Content[d.ID])
	}
	w.Claim(false)
	return w.Writer.Epoch(), held
}

// offered gives the names of what is offered to an epoch.
func (w *world) offered(e farshore.Epoch) (heads, parts []string) {
	w.t.Helper()
	for entry, err := range w.vault.Store.List(w.t.Context(), hashes.Prefix(web, 1, e), "") {
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
		body, err := w.vault.Store.Get(w.t.Context(), name)
		if err != nil {
			w.t.Fatal(err)
		}
		want := journal.HashOffer{Machine: web, Generation: 1, Epoch: e, Number: uint32(i + 1)}
		o, secret, err := journal.ReadOffer(w.vault.CA.Roots(w.t), *w.Asks, want, body)
		if err != nil {
			w.t.Fatal(err)
		}
		secrets[o.Number] = secret
	}
	for _, name := range parts {
		body, err := w.vault.Store.Get(w.t.Context(), name)
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
	for seed := range setting.Number[uint64](t, "SEEDS", 4) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			s, r := fileVault(t)
			w := newWorld(t, seed, s, r)
			w.story(10)
			e, held := w.ask()
			for range 5 { // the applier comes late: the stream has gone on
				w.Segment(10, false)
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
		w.Segment(10, false)
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
	w.Sizes = w.Sizes[:1]
	w.story(3)
	first, _ := w.ask()
	w.Segment(3, false)
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
	w.Segment(3, false)
	if err := w.catchUp(t.Context(), w.applier(s, r, w.signing)); err != nil {
		t.Fatal(err)
	}
	w.offeredAtLast(a, second, true)
	for i := range w.Sizes {
		w.Sizes[i].Joining = false
	}
	w.Segment(1, true)
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
		if there == (len(heads) > 0 && len(parts) == len(w.Owes)) && (there || len(heads)+len(parts) == 0) {
			break
		}
		if err := host.Pause(ctx, a.poll()); err != nil {
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
	w.Segment(1, false)
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

// An agent that copies in full is not followed from behind: hashes of what it has sent are of no use. What it has said or sent
// of other places leaves nothing out: it waits for those.
func TestPartsThatTheAgentHasCopiedAreNotOfferedAndNoOthersAreLeftOut(t *testing.T) {
	type place struct {
		disk farshore.DiskID
		part uint32
	}
	all := []place{{"sda", 0}, {"sda", 1}, {"sda", 2}, {"sdb", 0}}
	part, disk := block.Extent{Count: hashes.PartSectors}, block.Extent{Count: 3 * hashes.PartSectors}
	last := block.Extent{Start: disk.End() - block.Sector(2*sweepCount), Count: 2 * sweepCount}
	for _, row := range []struct {
		name string
		sent []segment.Record
		want []place
	}{
		{"the first part", []segment.Record{{Kind: block.Zero, Extent: part}}, all[1:]},
		{"the first part, and a large write far behind it", []segment.Record{{Kind: block.Zero, Extent: part}, {Kind: block.Zero, Extent: last}}, all[1:]},
		{"what no file system uses", []segment.Record{{Kind: block.Unspecified, Extent: disk}}, all},
		{"small writes", []segment.Record{
			{Kind: block.Zero, Extent: block.Extent{Start: 8, Count: 8}}, {Kind: block.Zero, Extent: block.Extent{Start: last.Start, Count: 8}},
		}, all},
		{"another disk", []segment.Record{{Disk: 1, Kind: block.Zero, Extent: block.Extent{Count: sweepCount}}}, all},
	} {
		t.Run(row.name, func(t *testing.T) {
			s, r := fileVault(t)
			w := newWorld(t, 7, s, r)
			w.Sizes, w.Content = []segment.Disk{{ID: "sda", Sectors: disk.Count}, {ID: "sdb", Sectors: 2 * sweepCount}}, nil
			w.Commit(&segment.Builder{}, 1, 0, true)
			if err := w.catchUp(t.Context(), w.applier(s, r)); err != nil {
				t.Fatal(err)
			}
			e, _ := w.ask()
			var b segment.Builder
			for _, r := range row.sent {
				b.Add(r)
			}
			p, err := w.Writer.Prepare(&b, segment.Header{FirstLSN: 1, LastLSN: 0, Copy: true, Jump: true, Disks: w.Sizes})
			if err := errors.Join(err, w.Writer.Commit(t.Context(), p)); err != nil {
				t.Fatal(err)
			}
			if err := w.catchUp(t.Context(), w.applier(s, r, w.signing)); err != nil {
				t.Fatal(err)
			}
			_, parts := w.offered(e)
			var want []string
			for _, p := range row.want {
				want = append(want, hashes.PartName(web, 1, e, p.disk, p.part))
			}
			if !slices.Equal(parts, want) {
				t.Errorf("offered: %v, want %v", parts, want)
			}
		})
	}
}
