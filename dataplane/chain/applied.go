package chain

import "farshore"

// Applied says how far a replica disk was brought along its stream: it holds everything up to At, and perhaps pages of what
// comes behind, up to Intent.
//
// Redo is idempotent only towards the same or a later end (R5): a window that is merged holds the last write of each
// block, so a disk that was left in the middle of one holds pages of the future until it stands at that window's end. So
// the end is stored as the intent before the first page is written, and until it is reached again the disk counts as being
// nowhere.
type Applied struct {
	At     Link
	Intent farshore.Position // never in front of At
}

// AppliedAt is a disk that holds exactly what the stream says at a link.
func AppliedAt(l Link) Applied { return Applied{At: l, Intent: l.Position} }

// Begin notes that pages up to a position are going to be written. It reports whether that must be stored before the first
// of them; a disk that may hold pages from farther on keeps saying so.
func (a *Applied) Begin(to farshore.Position) (store bool) {
	if a.Intent.Compare(to) >= 0 {
		return false
	}
	a.Intent = to
	return true
}

// End notes that everything up to a link is written.
func (a *Applied) End(to Link) {
	a.At = to
	a.Begin(to.Position)
}

// Stands reports whether the disk holds exactly what the stream says at a position. Only then may it be snapshotted, be
// hashed, or be said to be there.
func (a Applied) Stands(at farshore.Position) bool { return a.At.Position == at && a.Intent == at }

// Reaches reports whether redoing the stream up to a position makes the disk hold exactly that.
func (a Applied) Reaches(p farshore.Position) bool {
	return a.At.Position.Compare(p) <= 0 && a.Intent.Compare(p) <= 0
}
