// Package site is a replication line inside a test's own process: a vault with real keys in a folder, a real process server
// before it, a wire that can be stalled and cut between the two ends, and what an agent needs to know. It is for tests that
// must make many points fast and look inside; package stack runs the programs as an operator would.
//
// Nothing in it is made up: every byte goes through TLS, the protocol, the spool, encryption and the vault, and the folder is
// one that farshore-restore reads.
package site
