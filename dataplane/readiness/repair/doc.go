// Package repair carries out the steps that readiness plans: it replaces files, copies boot loaders, and runs the distribution's own programs.
//
// [Apply] asks first for the free space that all steps need, and does nothing if it is not there. A file is replaced in one instant, with the
// owner, mode and security label that it had, and its old content stays beside it under a name that ends in [Kept]. Nothing is touched but
// what a step names; what programs print goes to the writer of the caller.
//
// Linux only, like what it mends.
package repair
