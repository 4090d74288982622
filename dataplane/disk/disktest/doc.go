// Package disktest gives tests real disks: loop devices over sparse files, with real file systems mounted. Everything is
// taken down when the test ends. Tests that need it skip, loudly, without root, loop devices or the programs.
package disktest
