// Package stack runs all of Farshore on one machine, as separate processes, the way an operator would: a vault on Azurite
// or in a folder, the Temporal server, the configuration server, a process server, an applier, an agent, and in front of
// the configuration server the lab's Azure Resource Manager. Each can be killed and started again by its name.
//
// It drives the programs through their own command lines and configuration files only, so that what a test sees is what
// an operator would see.
package stack
