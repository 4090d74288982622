// Package image makes one picture of a whole disk out of pieces that are read from different places: the parts that volumes
// lie on come from their shadow copies, all else (partition tables, gaps between partitions, partitions that no shadow copy
// can be made of) from the disk itself.
//
// A [Map] says which range comes from where. It covers the disk without a hole and without an overlap, or [Compose] refuses
// to make it. [Image] reads through a map. The package knows nothing of Windows and holds nothing open.
package image
