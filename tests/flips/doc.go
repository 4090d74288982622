// Package flips turns single bits of stored bytes over and sees that whoever reads them says so.
//
// An [Object] is what is stored of one kind and the product's own way of reading it. [Try] flips bits of it, one at a time:
// every bit where that is quick, else as many chosen by chance as FLIPS says. Each must be reported, and nothing may be
// returned that is not what was stored. The tests that call it stand beside the readers, since most of these are private;
// make flips runs them all in their long form and prints the sum.
package flips
