// Package credential is who a node is: its key, its certificate, what it signs, and whom it believes.
//
// A [Node] is a folder of three files: key.pem (ECDSA P-256, mode 0600, made once and never sent), chain.pem (the
// certificate and its intermediates, replaced whole at each renewal) and ca.pem (the vault's CA, pinned when the node was
// enrolled and never replaced by a renewal). [Roots] is that CA as the one who checks sees it. A [Signature] carries the
// chain of its signer, so that whoever has the CA can check it years later.
//
// Invariants:
//   - A name comes from the farshore:// URI of a certificate and from nowhere else.
//   - A certificate is believed from [Early] before its begin, for clocks that are slow, until [Grace] after its end: certificates are short-lived, and a dead configuration server,
//     which cannot renew them, must not stop replication. Nodes that are no longer wanted are refused by the desired
//     document, not by waiting for their certificate to end.
//   - A signature names its domain: what was signed for one purpose is never valid for another.
//   - A new chain is on stable storage before it is used.
//
// The package makes no network connection and issues no certificates; package control does that.
package credential
