// Package process runs Farshore's programs as children that can be stopped, killed and started again, as a test of crashes
// needs them. A child dies with its parent; what it prints goes to a log file that a failure can quote.
package process
