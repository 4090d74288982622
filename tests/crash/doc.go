// Package crash kills Farshore's programs with SIGKILL while a disk is being written to and replicated, starts them again,
// and asks the oracle whether anything that was acknowledged is lost. CRASH=long kills for longer.
package crash
