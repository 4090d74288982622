// Package connect opens a vault from its configuration, whichever adapter keeps it. It is the only package that knows
// all adapters and all kinds of credential.
package connect
