// Package arch proves the shape of the tree: packages import only downwards, files and functions stay small enough to see,
// every package says what it is for, every fault code is in the table, and each binary links only what it may.
package arch
