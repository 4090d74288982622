package journal

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"farshore"
	"farshore/dataplane/chain"
	"farshore/dataplane/segment"
	"farshore/dataplane/vault/storetest"
)

// TestNoAcknowledgedSegmentIsLostOnABadWayToTheVault lets servers claim and commit several segments at once, old ones too, while a
// quarter of all requests is lost, answered to nobody, late or done twice. The waits between tries pass in no time.
func TestNoAcknowledgedSegmentIsLostOnABadWayToTheVault(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { badWay(t, seed) })
		})
	}
}

func badWay(t *testing.T, seed uint64) {
	w := newWorld(t)
	good := w.store
	w.store, _ = storetest.Faulty(good, nil, storetest.Bad(seed, 0.25))
	rnd := rand.New(rand.NewPCG(seed, 3))
	var servers []Deps
	for i := range 3 {
		servers = append(servers, w.server(fmt.Sprintf("hq-%d", i)))
	}
	var writers []*Writer
	durable := map[segment.Hash]farshore.Position{}
	for step := range 60 {
		if len(writers) == 0 || rnd.IntN(8) == 0 {
			s := rnd.IntN(len(servers))
			writer, _, err := Claim(t.Context(), servers[s], w.ticket(fmt.Sprintf("hq-%d", s)))
			if err != nil {
				t.Fatalf("step %d: claim: %v", step, err)
			}
			writers = append(writers, writer)
			continue
		}
		writer := writers[rnd.IntN(len(writers))]
		var some []Prepared
		for i := range 1 + rnd.IntN(4) {
			some = append(some, prepare(t, writer, byte(step+i)))
		}
		for i, err := range commitAtOnce(t, writer, some) {
			switch {
			case err == nil:
				durable[some[i].Hash] = some[i].Header.Position()
			case !errors.Is(err, ErrFenced):
				t.Fatalf("step %d: commit: %v", step, err)
			}
		}
	}
	w.store = good
	r := w.reader()
	for seg, err := range r.Follow(t.Context(), r.Start(web, 1)) {
		if err != nil {
			t.Fatal(err)
		}
		delete(durable, seg.Hash())
	}
	if len(durable) > 0 {
		t.Errorf("acknowledged, but not in the readable stream: %v", durable)
	}
}

func TestACommitTellsOfAVaultThatDoesNotAnswerAndGoesOnWithTheSameBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		writer, _ := w.claim("hq-1")
		back := time.Now().Add(3 * retryFor)
		store, _ := storetest.Faulty(w.store, nil, func(storetest.Op) storetest.Fate {
			if time.Now().Before(back) {
				return storetest.LostReply
			}
			return storetest.Pass
		})
		writer.deps.Store = store
		p := prepare(t, writer, 1)
		told := 0
		for writer.Commit(t.Context(), p) != nil {
			if told++; told > 10 {
				t.Fatal("it never becomes durable")
			}
		}
		if told < 2 {
			t.Errorf("the caller heard of it %d times in %v", told, 3*retryFor)
		}
		w.write(writer, 2)
		w.wantContent(1, 1, 2)
	})
}

func TestADamagedHeaderHidesOnlyThePointsBehindItAndIsTold(t *testing.T) {
	w := newWorld(t)
	writer, _ := w.claim("hq-1")
	w.write(writer, 1, 2, 3)
	w.claim("hq-1", func(t *Ticket) { t.NewGeneration = true })
	fresh, _ := w.claim("hq-1")
	w.write(fresh, 4)
	name := chain.SegmentName(web, 1, 1, 2)
	body, err := w.store.Get(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	body[100] ^= 1
	w.replace(name, body)
	r := w.reader()
	var told []error
	r.Damage = func(err error) { told = append(told, err) }
	points, err := r.Points(t.Context(), web)
	if err != nil || len(points) != 2 || points[0].Position != position(1, 1, 1) || points[1].Position != position(2, 2, 1) {
		t.Errorf("points = %v, %v", points, err)
	}
	if len(told) != 1 {
		t.Fatalf("told of %v", told)
	}
	wantFault(t, told[0], "FS-3510")
}
