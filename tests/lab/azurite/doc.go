// Package azurite runs Azurite, Microsoft's emulator of Azure Storage, as the real blob server of the tests.
//
// [Install] brings the version of package-lock.json into the lab's cache once; [Start] runs its blob service alone
// on loopback and returns when it answers requests. A [Server] can be stopped, killed and started again on the same
// directory.
//
// Version 3.35.0 is pinned on purpose: from 3.37 on, checksums computed in JavaScript make each uploaded MiB four to
// five times as expensive (5 against 23 ms of processor time), and the server is one thread.
//
// What a test must know: writes acknowledged within the last seconds are lost when the server is killed, because its
// index is saved by timer. A crash test of durability belongs on the file vault.
package azurite
