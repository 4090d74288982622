// Package uplink is the agent's end of a replication session: the shell around [session.Agent] that owns the connection.
//
// A [Link] is one session. It never connects again by itself: a new session means that everything pending is copied anew,
// and that is the agent's decision. Use:
//
//	link, opened, err := uplink.Open(ctx, config)
//	g.Go(func() error { return link.Run(ctx) })      // receives and keeps time until the session ends
//	g.Go(func() error { for m := range link.Events() { ... } })
//	number, err := link.Send(ctx, &session.Batch{...}) // waits while the window is full
//	number, err = link.Cut(ctx, &session.Cut{...})
//
// Invariants: batches and cuts are numbered and given their LSNs here, so an agent cannot leave a hole; whatever ends the
// session ends Run, Send, Cut and Events alike, with the same *fault.Fault.
package uplink
