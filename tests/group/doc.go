// Package group has machines make points together with all real parts: agents over loop devices with file systems, their mTLS, a
// process server, a vault. Writers that go from machine to machine are the oracle.
package group
