// Package hrl is the format of the change log's file: `.hrl`, version 1, specified in docs/formats/hrl.md.
//
// The file is a [Header] and a circle of slots. A [Frame] fills a slot with a body: a run of [Record]s, numbered one by
// one. Everything is woven into pages of 4 KiB that begin with a cookie, by which the capture programs know the agent's
// own writes, and that carry a checksum and the number of their frame, by which a reader tells torn from old from damaged.
//
// Invariants: nothing is returned of a frame unless every byte of it is right; every error is a *[Damage] that says what
// and at which byte. Pure: no I/O, no clock, no random bytes. What a log keeps where, and when, is dataplane/changelog's.
package hrl
