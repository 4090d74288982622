package pace

import "time"

// Window is how many requests one account is asked at once. It grows by one for each window of requests that went well and
// is halved when the account is at its limits (additive increase, multiplicative decrease; Chiu and Jain, 1989).
type Window struct {
	least, most float64
	size        float64
	halved      time.Time
}

// NewWindow makes a window between two bounds, both at least 1.
func NewWindow(least, start, most int) Window {
	return Window{least: float64(least), most: float64(most), size: float64(start)}
}

// Size is how many requests may be under way.
func (w *Window) Size() int { return int(w.size) }

// Good tells of a request that went well.
func (w *Window) Good() { w.size = min(w.size+1/w.size, w.most) }

// Busy tells that the account refused, for being at its limits, a request that was begun at a time. Requests that were under
// way together meet the same limit: they halve the window once.
func (w *Window) Busy(now, begun time.Time) {
	if begun.Before(w.halved) {
		return
	}
	w.size, w.halved = max(w.size/2, w.least), now
}
