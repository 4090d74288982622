// Package journaltest is a vault in a folder with real keys and a CA, and machines whose streams are written into it at
// random. Of each machine it is known what its disks hold at every recovery point: whoever reads the journal is judged by that.
package journaltest
