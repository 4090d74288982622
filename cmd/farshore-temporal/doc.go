// Command farshore-temporal is the Temporal that Farshore brings along: the server with its four services, the
// Temporal UI and the few client verbs an operator needs when no other Temporal tool is at hand.
//
//	farshore-temporal server --db FILE           one process, one SQLite file
//	farshore-temporal server --postgres ADDRESS  the same process on PostgreSQL
//	farshore-temporal schema postgres            create or update the PostgreSQL schemas
//	farshore-temporal prepare                    register namespace and search attributes on any cluster
//	farshore-temporal start | show | list        start a workflow, print its history, list workflows
//
// Nouns: a store is where Temporal keeps its state (a file or two PostgreSQL databases) and the lock that keeps a
// second server away from it; the cluster is the configuration of the server on that store; the ready line is the one
// line on standard output that says who answers where.
//
// What stays true:
//   - one server per store, enforced by a lock that dies with its holder;
//   - a file is only opened by the server version that made it: the version is in the file's own header;
//   - the ready line is printed after the namespace and the search attributes are usable, never before;
//   - a start that cannot succeed ends the process with a fault; it does not hang and prints no stack trace.
//
// It is a module of its own because the server fixes the versions of some two hundred modules and costs minutes to
// compile: neither may reach the rest of Farshore. For the same reason it imports nothing from the main module and
// writes faults in the same form by itself. Nothing else in Farshore may import the Temporal server.
package main
