// Package histories proves that today's workflows can go on where yesterday's stopped: stored histories are replayed
// against the code. A history is recorded by the live test, which runs everything on a real Temporal server:
//
//	go test ./tests/histories -run Live -record
//
// A history is never changed. When a workflow must do something else than before, workflow.GetVersion keeps the old
// histories replayable, and a new recording is added in a folder of its own.
package histories
