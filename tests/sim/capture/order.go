package capture

import (
	"farshore"
	"farshore/dataplane/session"
)

// This file is how an agent gains write order and loses it, within a session: it records, waits until what was queued before
// has completed, exchanges the bitmap, copies what was in it while the machine writes, and sends what was recorded meanwhile
// once more on top. A write may so lie in front of the exchange and in the log, too; the copy may hold a later one. Until the
// whole of the log that was written during the copy is behind it, the stream holds a state that never was.

// resetLog makes the log begin here.
func (a *agent) resetLog() { a.logBase, a.known = len(a.truth), map[farshore.LSN]int{} }

// upgrade begins to keep order.
func (a *agent) upgrade() {
	a.capture = true
	a.resetLog()
	a.sent = a.logBase
	a.beginCopy()
}

// beginCopy opens a re-copy. In capture grade order is kept from here on: what is copied may be newer.
func (a *agent) beginCopy() {
	w := a.world
	w.figures.copies++
	a.copying, a.copyEnd = true, len(a.truth)
	if !a.capture {
		return
	}
	if a.settling = 1 + w.rnd.IntN(10); w.bug == recordedFromBehindTheExchange {
		a.exchangeBits()
	}
}

// settled ends the wait for what was queued before, and takes what is to be copied.
func (a *agent) settled() {
	if a.world.bug == recordedFromBehindTheExchange {
		a.sent = len(a.truth)
		return
	}
	a.exchangeBits()
	a.copyEnd = len(a.truth)
}

// exchangeBits has copied what was written since the last exchange.
func (a *agent) exchangeBits() {
	a.closeInterval()
	for i := a.exchange + 1; i < a.interval; i++ {
		for b := range a.pending[i] {
			a.due[b] = true
		}
	}
	a.exchange = a.interval - 1
}

// owePending has everything copied that is not durable behind a clean end.
func (a *agent) owePending() {
	for _, set := range a.pending {
		for b := range set {
			a.due[b] = true
		}
	}
	if a.world.bug != pendingIsOneBit {
		return
	}
	clear(a.due)
	for b := range a.bits {
		a.due[b] = true
	}
}

// loseOrder is a ring or a log that could not hold what was written. The session goes on in bitmap grade; what is pending is
// copied again, behind a jump: of the log a part has been sent, which may be older than what was copied in front of it.
func (a *agent) loseOrder() {
	w := a.world
	if !a.up || !a.sending || !a.capture {
		return
	}
	w.figures.lost++
	a.capture, a.rest = false, 0
	a.resetLog()
	redoing := a.copying
	a.copying, a.settling = true, 0
	switch {
	case redoing && w.bug == partOfARedoStays: // what is not copied yet is still due, and so are writes behind the exchange
	case !redoing && w.bug == lostOrderIsNotCopied:
		a.closeInterval()
		a.exchange = a.interval - 1
	default:
		a.jump = true
		a.closeInterval()
		a.owePending()
		a.exchange = a.interval - 1
		w.figures.copies++
	}
}

// sendLog is capture grade: copies first if a re-copy is open, then the log, then the end of the re-copy.
func (a *agent) sendLog() {
	w := a.world
	if a.settling > 0 {
		if a.settling--; a.settling == 0 {
			a.settled()
		}
		return
	}
	if a.copying && (a.jump || len(a.due) > 0) {
		a.sendCopies(4)
		if w.bug == cleanInsideACopy && a.sending {
			a.out(&session.Cut{Disks: disks(true)}, len(a.truth))
		}
		return
	}
	if a.copying && w.bug == nothingIsRedone {
		a.sent = max(a.sent, a.copyEnd)
	}
	n := min(6, len(a.truth)-a.sent)
	switch {
	case n > 0 && a.sent >= a.logBase:
		if a.sendRecords(n); a.copying && w.chance(100) {
			a.loseOrder() // in the middle of the redo
		}
	case n > 0:
		a.loseOrder() // the log does not reach back any more
	case a.copying && a.sent >= a.copyEnd:
		if a.out(&session.Cut{Disks: disks(true)}, a.sent) {
			a.copying = false
		}
	case !a.copying && w.rnd.IntN(25) == 0:
		a.out(&session.Cut{Disks: disks(true), Marker: true}, a.sent)
	}
}
