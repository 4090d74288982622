package agent

import (
	"crypto/sha256"
	"encoding/binary"
	"math"
	"time"
)

// An outage of a process server meets all its machines at once. They shall neither give up write order at one moment, nor all try for it
// at one moment behind the outage: each try is a copy, and what copies together has no points together. So every machine has a
// place of its own between the first and the last.

const (
	leastFill    = 7.0 / 8 // of its change log, before which no machine gives up order
	returnWithin = 1.0     // of the pause before a try for order: tries lie that far apart, around it
)

// place is where this installation stands among all others at an occasion, from 0 to 1. Without a clock or a source of randomness the
// same machine is not always the first: each occasion has other places.
func (s *state) place(occasion string) float64 {
	sum := sha256.Sum256([]byte(s.Instance + " " + occasion))
	return float64(binary.BigEndian.Uint64(sum[:])) / math.MaxUint64
}

// leaveAt gives how many bytes of a change log may be held before order is given up.
func leaveAt(budget int64, place float64) int64 {
	return int64(float64(budget) * (leastFill + (1-leastFill)*place))
}

// returnIn gives how long the machine at a place waits until it tries for order.
func returnIn(pause time.Duration, place float64) time.Duration {
	return time.Duration(float64(pause) * (1 - returnWithin/2 + returnWithin*place))
}
