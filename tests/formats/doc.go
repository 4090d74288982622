// Package formats holds golden files: bytes that Farshore once wrote, and must read for ever. Each test decodes the
// committed bytes and encodes the same content again; a difference means that the format has changed and needs a new
// version, not a new golden file. The formats are specified in docs/formats.
//
// Run with UPDATE=1 to write the files of a new format or version; those that are there are never written again.
package formats
