// Package vhd writes the footer that makes a plain image a fixed VHD: the one disk format that Azure takes. The image is
// the disk's bytes, of a size that is a whole number of MiB, and behind them the footer. Pure: no I/O.
//
// Source of the layout: "Virtual Hard Disk Image Format Specification", version 1.0, 2006.
package vhd
