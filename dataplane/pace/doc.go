// Package pace decides when a process server may send something: how much the line carries at an hour of the day, how many
// requests a storage account takes at once, whose turn it is, and for how long a segment waits for more.
//
//   - A [Schedule] says how many bytes a second the line may carry at a time of day.
//   - A [Bucket] is a budget that fills with time.
//   - A [Window] is how many requests are under way at once: one more for each window that went well, half as many when the
//     account says that it is at its limits.
//   - A [Gate] admits requests by window, line and turn. Turns are by bytes, so that many small segments of one machine count
//     as much as few large ones of another, and a machine that begins waits for nobody's backlog.
//   - An [Age] lets segments wait longer for more when a machine has made many requests.
//
// The package is pure: whoever uses it gives the time, and waits. Nothing here is safe for concurrent use.
package pace
