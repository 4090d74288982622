// Package e2e tries the whole way of a block, with every program as a process of its own: a disk is written to, replicated,
// and restored by farshore-restore with everything else stopped; the oracle says whether what came out is what was there, and
// `farshore verify` says whether the vault holds what was written.
package e2e
