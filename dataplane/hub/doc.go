// Package hub is a node's end of the hub: how an agent, a process server or an applier joins a vault and learns what is
// wanted of it.
//
// A node enrols once ([Enrol]): it proves that it holds a join [Token] and gets a certificate in return. From then on a
// [Client] keeps two things going: it fetches the node's *desired* document and reports what the node *observed*.
//
// Invariants:
//   - The token's secret never leaves the node. What is sent is a signature over the very TLS connection it is sent on, so
//     it is worth nothing anywhere else; the configuration server stores only the public half.
//   - A desired document is on stable storage before it is acted on. A node starts from it and goes on for as long as the
//     hub is away. If it cannot be stored, it is acted on all the same, and the hub is told.
//   - A lower version than the node has is ignored. Versions are ordered by incarnation first: a configuration server
//     restored from an old backup cannot turn a node back.
//   - The certificate is renewed at half of its life, for ever, as long as the hub answers now and then.
//
// The messages are specified in api/proto/farshore/v1/hub.proto. This package also holds the one translation between them
// and the nouns of package farshore. It knows nothing of what the documents mean.
package hub
