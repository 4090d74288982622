// Command guest runs inside a booted kernel and tries the tracker on the disks of that machine. It is a test binary in
// all but its build: testing's flags choose what is run (-test.run), and what was measured is printed as lines of JSON.
//
// Its environment names the disks ("virtio=/dev/vda nvme=/dev/nvme0n1"), whose content is lost.
package main
