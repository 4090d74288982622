// Package authority is the certificate authority of a vault: one self-signed ECDSA P-256 key that issues short-lived
// certificates to nodes and operators.
//
// A certificate carries exactly one name, the URI farshore://ROLE/NAME, and the caller of [Authority.Issue] decides which:
// what a certificate request says is compared with it and never copied. Certificates live a day and are renewed at half
// of it; who is no longer wanted is refused by control/nodes, so there is no revocation list.
package authority
