// Package nodes knows the nodes of a vault: who has enrolled, what is desired of each, what each last observed. It is the
// server's end of the hub (dataplane/hub is the node's) and what the activities on nodes work with.
//
// Everything is in one bbolt file, on stable storage before it is answered or acted on. A desired document has a version:
// the incarnation, which is raised in the vault at every start of a configuration server, and a number. A server started
// on an old backup therefore speaks with a higher incarnation than the nodes have seen, and is believed.
//
// Join tokens are stored as public keys: reading the file lets nobody enrol. A token is used up in the same transaction
// that admits the node, and forgotten a week behind its end. A node that is removed, or whose name was given to another, is
// refused by its key.
package nodes
