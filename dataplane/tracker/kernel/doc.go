// Package kernel is what the trackers that run inside the kernel have in common: the look at the kernel's types (BTF) which
// decides whether a program fits a tracepoint, and a scratch disk in memory with known changes for the self-tests.
package kernel
