// Package control is the configuration server: the API of operators, the hub of nodes, the certificate authority of the
// vault, and the workers that carry out the workflows.
//
// Its nouns are in the folders below: control/authority issues certificates, control/nodes knows the nodes and what is
// wanted of them, control/audit keeps the record of who asked for what, control/operator answers operators. This package
// puts them together: [Init] begins a vault, [Run] serves it.
//
// Invariants:
//   - Who calls is read from the certificate of the connection and from nowhere else.
//   - Every call that changes something is in the audit log before it is carried out.
//   - Losing this server stops no replication: nodes go on with what they were last told, and the vault alone restores.
package control
