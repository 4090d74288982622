// Package qemu boots disks in virtual machines of QEMU with TCG, so that a recovery ends with a machine that runs
// and not with a file that looks right. [Boot] starts one; [VM.WaitFor] reads its serial console.
//
// No hardware acceleration is used, wherever it runs: figures and failures are the same everywhere. A machine has
// no network unless asked for, and never a way to the outside world. It dies with the process that booted it.
//
// Disks are opened cache=unsafe: what the guest writes survives its power-off, but not a crash of the host.
package qemu
