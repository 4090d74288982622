// Package survey makes the view of a machine that readiness looks at: of the machine it runs on, or of a root file system that is mounted
// somewhere, such as that of an image or of a replica.
//
// It only reads. Links are followed inside the root, wherever they point; nothing but regular files is opened below it. Of block devices the
// first bytes are read, to know them by what is on them. What cannot be found out is left out: a container without disks can be looked at too.
//
// Linux only, like what it looks at.
package survey
