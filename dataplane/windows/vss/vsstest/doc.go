// Package vsstest plays the Volume Shadow Copy Service for tests. It keeps to what the documentation demands of a requester:
// a call out of order is refused as Windows refuses it, and is noted. Every call can be made to fail, to end badly, or never
// to end.
//
// It is the one place where a stand-in is right: the service exists on Windows only.
package vsstest
