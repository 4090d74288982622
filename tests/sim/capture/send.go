package capture

import (
	"slices"

	"farshore"
	"farshore/dataplane/session"
)

// send gives the session what there is to send, a little at a time.
func (a *agent) send() {
	if a.capture {
		a.closeInterval()
		a.sendLog()
		return
	}
	a.flush()
	if a.rest--; len(a.queue) == 0 && a.sending && a.rest <= 0 {
		a.round()
	}
}

// sendRecords sends writes as they were made.
func (a *agent) sendRecords(n int) {
	b := &session.Batch{}
	for i := a.sent; i < a.sent+n; i++ {
		b.Records = append(b.Records, record(a.truth[i].block, a.truth[i].number))
	}
	if !a.out(b, a.sent+n) || !a.sending {
		return
	}
	for i := range n {
		a.known[b.FirstLSN+farshore.LSN(i)] = a.sent + i + 1
	}
	a.sent += n
}

// sendCopies copies some blocks as they are now, while the machine writes.
func (a *agent) sendCopies(n int) {
	b := &session.Batch{Copy: true, Jump: a.jump}
	for _, at := range sorted(a.due)[:min(n, len(a.due))] {
		b.Records = append(b.Records, record(at, a.disk[at]))
	}
	if !a.out(b, a.sent) {
		return
	}
	for _, r := range b.Records {
		delete(a.due, blockOf(r))
	}
	a.jump, a.copyEnd = false, len(a.truth)
}

// round is bitmap grade: freeze, exchange the bitmap, read, thaw; then send and cut. Now and then blocks are copied before,
// while the machine writes, so that less is left to read when it stands still.
func (a *agent) round() {
	w := a.world
	if a.copying && len(a.due) > 0 && w.rnd.IntN(2) == 0 {
		a.sendCopies(6)
		return
	}
	if !a.copying && w.rnd.IntN(6) == 0 {
		a.upgrade()
		return
	}
	a.rest = 2 + w.rnd.IntN(4)
	a.exchangeBits()
	if len(a.due) == 0 && !a.copying {
		return
	}
	made := len(a.truth)
	for chunk := range slices.Chunk(sorted(a.due), 6) {
		b := &session.Batch{Copy: true, Jump: a.jump}
		for _, at := range chunk {
			b.Records = append(b.Records, record(at, a.disk[at]))
		}
		a.jump = false
		a.queue = append(a.queue, b)
	}
	if a.jump { // nothing is left to copy, but the stream must be told that it is whole
		a.queue, a.jump = append(a.queue, &session.Batch{Copy: true, Jump: true}), false
	}
	a.queue = append(a.queue, &session.Cut{Disks: disks(true)})
	for range a.queue {
		a.starts = append(a.starts, made)
	}
	clear(a.due)
	a.copying = false
	if w.bug != roundWithoutFreeze {
		a.flush()
	}
}

// flush sends what a round has read, as the window opens.
func (a *agent) flush() {
	for len(a.queue) > 0 && a.sending {
		if b, ok := a.queue[0].(*session.Batch); ok && a.world.bug == roundWithoutFreeze {
			for i, r := range b.Records {
				at := blockOf(r)
				b.Records[i] = record(at, a.disk[at])
			}
		}
		if !a.out(a.queue[0], a.starts[0]) || !a.sending {
			return
		}
		a.queue, a.starts = a.queue[1:], a.starts[1:]
		if a.world.bug == roundWithoutFreeze {
			return // the rest is read later
		}
	}
}

func sorted(set map[int]bool) []int {
	keys := make([]int, 0, len(set))
	for b := range set {
		keys = append(keys, b)
	}
	slices.Sort(keys)
	return keys
}
