// Package lab holds the parts that Farshore is tried against on one machine, each as near to the real thing as can run here:
// Azurite for blob storage, a small Azure Resource Manager that really imports disks and really boots them, guests that start
// under QEMU, the disks they start from, and the kernels of Debian's releases with machines to boot them in.
package lab
