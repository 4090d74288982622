// Package readiness says what would stop a machine from starting somewhere else: on Azure (Hyper-V), on VMware, on KVM, or on other metal.
//
// A [Machine] is a read-only view of a root file system, and the few facts that files do not hold. [Check] looks at it and gives
// [Finding]s: a stable code, how bad it is, where, why, and the exact commands that mend it on this machine's distribution. [Plan] gives the
// [Step]s with which the agent mends those that it can mend itself.
//
// Nothing here does input or output of its own, so the same checks run on a machine, on the mounted root of an image, and on trees made in
// tests. Package survey makes the view; package repair carries out steps; packages initramfs and volume read what they are named for.
//
// What must stay true: a check that cannot see what it needs says so or stays silent, and never claims that all is well; a step changes what
// its finding names and nothing else, and doing it twice changes nothing the second time. Settings that decide how the machine is reached on
// its present network are never changed by a step: their commands are for people.
package readiness
