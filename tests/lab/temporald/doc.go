// Package temporald runs Farshore's own Temporal server in tests, on a database and a port of its own. It is not built here,
// since that takes minutes: without bin/farshore-temporal a test is skipped, and says so.
package temporald
