// Package initrd makes initial RAM file systems for kernels of Linux: an [Archive] of files, and the [Modules] of a kernel
// with all that they need, in an order in which they can be loaded.
//
// It reads the folder of modules as the distribution's package lays it out and runs no other program. What is built into the
// kernel, or not there, is left out.
package initrd
