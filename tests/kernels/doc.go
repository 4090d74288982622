// Package kernels proves the tracker on the kernels and block drivers that the product supports: it boots Debian's own
// kernels in virtual machines (tests/lab/kernel) with disks of every kind, and runs the program of the folder guest in
// them. The short form is a part of `make test`; KERNELS=long, which is `make kernels`, runs everything.
package kernels
