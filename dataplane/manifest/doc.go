// Package manifest holds the chunk list of a disk at a recovery point: for each 4 MiB chunk whether it is all zeros, and
// otherwise its SHA-256. A signed point manifest (package journal) names the SHA-256 of the list, so that a snapshot which
// has outlived its journal can be proven to be what was applied. docs/formats/manifest.md specifies the bytes.
//
// The package is pure: whoever reads the disk feeds the chunks in order.
package manifest
