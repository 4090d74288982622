// Package kernel boots Debian's own kernels in virtual machines, to try on them what depends on the kernel.
//
//   - [Fetch] gets a [Release]'s kernel with the distribution's package client, whatever release runs here: a private
//     configuration names the suite on the mirror that this machine uses. [Userland] gets programs for it, of any
//     architecture. Both are unpacked, never installed, and kept in a cache by version.
//   - [Pack] makes an initial RAM disk of them: busybox, the programs with the libraries that they name, the modules
//     with those that they need, in loading order, and the files of the test.
//   - [Boot] starts a machine without a boot loader. The job, a shell script, runs as soon as the modules are loaded; what
//     it writes to standard output comes to [Guest.Reports] over a serial port of its own, unmixed with the console.
//
// A guest has no init system and no udev: devtmpfs names the disks. It powers off when its job ends. [Guest.Stop] cuts the
// power at any moment; the same disks can be booted again.
package kernel
