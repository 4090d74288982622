// Package bootentry reads and writes what UEFI firmware knows of boot loaders: load options (the variables Boot0000 to
// BootFFFF), their device paths, and the order in which they are tried (BootOrder). The layouts are those of the UEFI
// specification 2.10, sections 3.1.3 and 10.3.
//
// [Settle] decides which variables have to change so that exactly one option starts a given file of a given partition, and
// is tried first. Options of other partitions are left alone.
//
// The package is pure: it knows bytes, not the firmware.
package bootentry
