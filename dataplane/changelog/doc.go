// Package changelog is the bounded, write-ordered change log of a mobility agent: memory first, a file behind it.
//
// A [Log] takes each write as an [Entry] and gives it back as numbered records, in order, until they are trimmed. Memory
// is an arena of equal pieces, mapped once within the budget and used again and again: in the steady state nothing is
// allocated for a write. Only when memory runs short does the oldest part go to the file (dataplane/hrl, version 1), and
// is read back from it; a machine whose process server keeps up writes nothing. When neither has room, Append says
// [ErrFull] and keeps nothing of the entry: the caller falls back to the bitmap. Never a lost write, never a blocked one.
//
// The file is one of the protected machine's own, so its place is chosen with care (fault FS-1017): it is really written
// once, in full, and its blocks never move; every page of it begins with the cookie by which the capture programs know
// the agent's own writes. Its content is no truth for a later run: see docs/formats/hrl.md. [Inspect] and [Report.Replay]
// read it for people.
//
// One goroutine appends; one other reads and trims. Writing to the file is done by a goroutine of the Log's own, which
// [Open] starts and [Log.Close] waits for; it is the only one there is, and it runs only if there is a file.
package changelog
