// Package commandline is what the command lines of all programs have in common: what a root command looks like and how it is
// run ([Root], [Run]), how a command line that makes no sense is refused ([Usage]), what a person is told ([Explain]), and
// how one is asked ([Ask]). What a program prints is its own.
package commandline
