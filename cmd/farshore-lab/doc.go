// Command farshore-lab shows all of Farshore at work on one machine:
//
//	farshore-lab demo         replicate a live disk, test failover, failover, and the way home; then end
//	farshore-lab demo --hold  the same, and leave everything running until interrupted
//
// It starts every program as an operator would and drives them by their own command lines. Nothing in it is part of the
// product.
package main
