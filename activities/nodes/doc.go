// Package nodes carries out the steps on agents, process servers and appliers, and watches them for the workflows.
//
// Nodes are level-triggered: a step changes what is desired of a node and, where it must, waits until the node reports
// that it acts on it. A node that does not answer is no reason to fail: it will act when it next dials the [Hub]. Bytes and
// progress are the nodes' own; nothing here holds any.
//
// [Steps] serves the steps. A [Reporter] reads what the nodes observed and tells the workflows when that means something
// else than before; it is the only thing that does, so a machine at rest costs its workflow nothing.
package nodes
