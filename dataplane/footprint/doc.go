// Package footprint decides how much of a machine the mobility agent may use, and when it must make way.
//
// [Budget] and [Pressure] are pure decisions: from [Limits] to [Budgets], from [Stall] to a number between 0 and 1. [Read]
// and [Watch] ask the kernel: the memory of the machine, the cgroups (version 2) that the agent runs in, and how long
// others wait for CPU, memory and disks (PSI). Whatever the kernel does not tell is taken as no limit and no stall.
//
// Copying makes the agent itself wait for the disks, and the kernel counts that as pressure too. So the agent's own group
// is left out: what is read is the pressure of the groups beside it and beside each group above it.
package footprint
