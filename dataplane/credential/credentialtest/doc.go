// Package credentialtest is a small certificate authority for tests: real keys, real certificates, no network. The
// product's own CA is in package control.
package credentialtest
