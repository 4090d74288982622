// Package setting reads what the environment asks of a test: numbers of rounds and worlds, and the seed that is to be replayed.
//
// What is set and cannot be read fails the test: a run that was asked for must not pass as another.
package setting
