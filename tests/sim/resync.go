package sim

import (
	"encoding/json"
	"time"

	"farshore/dataplane/chain"
	"farshore/dataplane/session"
)

// owesTicket is the ticket of an agent that owes a base and asks for hashes.
const owesTicket = "owes a base"

// baseRound is how many blocks of a base are looked at in a round, patience how many rounds are waited for hashes.
const (
	baseRound = 5
	patience  = 8
)

// owed is what an agent keeps of its base. Hashes are the values themselves in this world.
type owed struct {
	base    map[int]bool // on a memory file system, as the pending blocks are
	era     bool         // tracking goes on since it was last believed; a reboot forgets it
	missed  bool         // the witness has seen more writes than the tracker
	booting bool         // nothing is tracked

	detached time.Time // events are lost until then

	left     map[int]bool // of the base, to be looked at in this session
	compared bool         // a base was owed in this session
	last     uint64       // message sent
	sent     []sentBlock
	offered  *image
	wanting  bool
	waited   int         // rounds
	early    map[int]int // what was read before tracking began
}

type sentBlock struct {
	message uint64
	block   int
}

func allBlocks() map[int]bool {
	all := map[int]bool{}
	for b := range blocks {
		all[b] = true
	}
	return all
}

// mayReboot loses everything that is kept in memory, the kernel's included. Writes go on for a while before anybody tracks.
func (a *agent) mayReboot() {
	if !a.fault(120) {
		return
	}
	a.Gaps++
	a.life++
	a.frozen = false
	a.lost()
	a.keep(nil)
	a.dirty, a.owed = map[int]bool{}, owed{booting: true, era: a.bug == RebootUnnoticed}
	if a.bug == ReadBeforeTracking {
		a.early = map[int]int{}
		for b := range blocks {
			a.early[b] = a.disk[b]
		}
	}
	a.after(a.spread(300*time.Millisecond), a.connect)
}

// completed marks the block of a write that has ended, if somebody watches and sees it.
func (a *agent) completed(b int) {
	switch {
	case a.booting:
	case a.now.Before(a.detached): // the kernel's own count says so
		a.missed = true
	case a.flaky && a.fault(4):
		a.Gaps++
		a.missed, a.detached = true, a.now.Add(a.spread(200*time.Millisecond))
	default:
		a.dirty[b] = true
	}
}

// track begins tracking if it does not go on, and fills the base before the new era is believed. It gives the ticket.
func (a *agent) track() string {
	a.booting = false
	if !a.era {
		a.renew()
	}
	a.left, a.compared, a.sent, a.offered, a.wanting, a.waited = map[int]bool{}, len(a.base) > 0, nil, nil, false, 0
	for b := range a.base {
		a.left[b] = true
	}
	if a.compared && a.bug == ForgottenJump {
		a.keep(nil)
	}
	if walks := a.mayWalk(); walks || a.compared {
		return owesTicket
	}
	return "ticket"
}

func (a *agent) renew() {
	a.era, a.missed = true, false
	if a.bug != EraBeforeBase {
		a.base = allBlocks()
		return
	}
	life := a.life
	a.after(a.spread(150*time.Millisecond), func() {
		if life == a.life {
			a.base = allBlocks()
		}
	})
}

// gapFound answers missed events: the whole disk is owed, and the session begins again behind a seal.
func (a *agent) gapFound() bool {
	if !a.missed || a.bug == WitnessIgnored {
		return false
	}
	a.renew()
	if a.bug == OfferOverGap {
		a.left, a.sent, a.compared, a.busy, a.waited = allBlocks(), nil, true, false, 0
		return true
	}
	a.reconnect()
	return true
}

// resync looks at some of what is owed of the base, and reports whether it took the round.
func (a *agent) resync(live func() bool) bool {
	if a.gapFound() {
		return true
	}
	if len(a.left) == 0 || a.bug == CleanWhileOwed && a.waited%2 == 1 {
		a.waited++
		return false
	}
	a.waited++
	a.wantOffer()
	if !live() {
		return true
	}
	if a.offered == nil && a.waited < patience { // what changes meanwhile may be sent
		late := sorted(a.dirty)
		a.exchange()
		for _, b := range late {
			if live() {
				a.send(b, a.disk[b])
			}
		}
		if live() {
			a.busy = false
		}
		return true
	}
	values := map[int]int{}
	order := sorted(a.left)
	order = order[:min(len(order), baseRound)]
	for _, b := range order {
		values[b] = a.disk[b]
		if early, ok := a.early[b]; ok {
			values[b] = early
		}
	}
	a.after(a.spread(10*time.Millisecond), func() {
		for _, b := range order {
			if live() {
				a.copyBlock(b, values[b])
			}
		}
		if live() {
			a.busy = false
		}
	})
	return true
}

// copyBlock leaves a block out that the sink has, or sends it.
func (a *agent) copyBlock(b, value int) {
	delete(a.left, b)
	delete(a.early, b)
	if a.offered != nil {
		a.Compared++
	}
	if a.offered != nil && a.offered[b] == value {
		a.Equal++
		delete(a.base, b)
		if a.bug == EqualIsForgotten {
			delete(a.open(), b)
		}
		return
	}
	a.numbered(func() { a.send(b, value) }, b)
	if a.bug == BaseForgottenSent {
		delete(a.base, b)
	}
}

// numbered sends and notes the message that a block of the base went out with.
func (a *agent) numbered(send func(), b int) {
	core := a.core
	send()
	if a.core == core && core != nil {
		a.sent = append(a.sent, sentBlock{message: a.last, block: b})
	}
}

// forgetBase takes what is durable out of the base.
func (a *agent) forgetBase(through uint64) {
	for len(a.sent) > 0 && a.sent[0].message <= through {
		delete(a.base, a.sent[0].block)
		a.sent = a.sent[1:]
	}
}

func (a *agent) answered(o *session.Offer) {
	a.wanting = false
	if len(o.Object) == 0 {
		return
	}
	var offered image
	if err := json.Unmarshal(o.Object, &offered); err != nil {
		a.violate("an offer cannot be read: %v", err)
		return
	}
	a.offered = &offered
}

// fetch looks for what the sink has offered to the writer's epoch.
func (w *writer) fetch(want session.Want) {
	w.after(w.delay(), func() {
		offered, ok := w.vault.offers[w.epoch]
		for e := w.epoch - 1; e > 0 && w.bug == OlderOffer; e-- {
			if older, there := w.vault.offers[e]; there {
				offered, ok = older, true
				break
			}
		}
		if w.bug == LaggingOffer || w.bug == ComparesElsewhere {
			offered, ok = w.applier.pages, true
		}
		var object []byte
		if ok {
			var err error
			if object, err = json.Marshal(offered); err != nil {
				w.violate("an offer cannot be written: %v", err)
			}
		}
		w.step(session.Fetched{Offer: session.Offer{Want: want, Object: object}})
	})
}

// asked reports whether the epoch behind a place asks for hashes that are not there.
func (a *applier) asked(at chain.Link) bool {
	_, done := a.vault.offers[at.Position.Epoch+1]
	return at.Seal && a.vault.asked[at.Position.Epoch+1] && !done
}

// offer reads the pages, one after the other, where the replica stands at a seal behind which somebody asks. It reports
// whether the applier is busy with that.
func (a *applier) offer() bool {
	if !a.asked(a.At) || !a.Stands(a.At.Position) {
		return false
	}
	a.busy = true
	epoch := a.At.Position.Epoch + 1
	var read image
	a.hash(a.life, 0, &read, func() {
		a.Offers++
		a.vault.offers[epoch], a.busy = read, false
	})
	return true
}

func (a *applier) hash(life, b int, read *image, done func()) {
	if life != a.life {
		return
	}
	if b == blocks {
		done()
		return
	}
	read[b] = a.pages[b]
	a.after(time.Duration(a.rng.IntN(4))*time.Millisecond, func() { a.hash(life, b+1, read, done) })
}
