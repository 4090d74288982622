// Package farshore holds the nouns of disaster recovery, as an operator would say them: the replicated machine and its
// disks, the recovery point, the replication policy, positions in a machine stream, the states of a machine and the
// table of what may be done in each.
//
// It is the ground floor: it imports only the standard library and package fault, does no I/O, starts no goroutine and
// asks no clock. Everything else in the module may import it.
package farshore
