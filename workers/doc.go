// Package workers is where the configuration server meets Temporal: it connects ([Connect]), registers the search
// attributes, puts all workflows and steps on one task queue and runs them ([Run]).
//
// With a key file, every payload that goes to Temporal is encrypted (AES-256-GCM): Temporal's database holds no plain
// inputs, results or error texts. Payloads that carry no mark of ours are passed as they are, so that a plain
// `temporal workflow start --input '{...}'` works with encryption on. Search attributes and workflow ids are never
// encrypted; no secret stands in them, nor anywhere in a history.
//
// Nothing is lost when a worker stops or is killed: what it supervised goes on at the nodes and in the cloud, and the next
// worker takes up where it was, at once.
package workers
