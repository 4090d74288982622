// Package document is JSON that knows when a bit of it has turned over: the small files in which agents and appliers keep how
// far they are. A number that reads well and is wrong would cost data there.
//
// [Encode] puts a checksum in front of the members of an object; [Decode] believes nothing without it. It is specified in
// docs/formats/document.md. What must be safe from people, and not only from disks, is signed instead (packages journal and
// vault). Pure: no I/O.
package document
