// Package host is what the agent asks of the operating system and what every system answers in its own way: the clock since
// boot, the names of this boot and of this installation, exclusive folders and files, memory shared with a file, and the
// durable replacement of a file; and the pause that the end of a context cuts short.
//
// The package holds no policy. Its files end in _linux.go and _windows.go; whoever imports it needs no build tags.
package host
