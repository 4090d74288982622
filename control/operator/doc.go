// Package operator answers the calls of people and their scripts (api/proto/farshore/v1/operator.proto).
//
// It keeps no state of its own. What nodes report comes from control/nodes, what a machine may do from its entity workflow,
// runs and their steps from Temporal's record, recovery points from the vault. What cannot be reached is said, and the rest
// is answered all the same: with Temporal down, the machines and their points are still listed.
//
// Every call needs a certificate with the role operator; a call that changes something is in the audit log before it is
// carried out.
package operator
