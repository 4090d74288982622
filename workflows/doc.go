// Package workflows decides: what happens to a replicated machine, in which order, and what is undone when it does not
// work out. It acts only through the steps of package activities, and asks of package farshore what is allowed when.
//
// [Protection] is the entity of one machine: it runs as long as the machine is protected, owns its state, and takes every
// operation as an update. Whatever takes longer than a few requests is a child workflow with an id that a person can read:
//
//	protection/web-01                             Protection
//	ir/web-01/g1                                  InitialReplication
//	delta/web-01                                  DeltaSync
//	test-failover/web-01/t-web-01-3fa9c21b04      TestFailoverRun
//	failover/web-01/f-web-01-77ab01c2de           FailoverRun (also a change of the recovery point)
//	commit/web-01/f-web-01-77ab01c2de             CommitRun
//	cancel-failover/web-01/f-web-01-77ab01c2de    CancelFailoverRun
//	reprotect/web-01/r-web-01-0c5519d1aa          ReprotectRun (also a change of the master target)
//	cancel-reprotect/web-01/r-web-01-0c5519d1aa   CancelReprotectRun
//	failback/web-01/b-web-01-91d0c3be57           FailbackRun
//	commit-failback/web-01/b-web-01-91d0c3be57    CommitFailbackRun
//	cancel-failback/web-01/b-web-01-91d0c3be57    CancelFailbackRun
//	remove-recovered/web-01/b-web-01-91d0c3be57   RemoveRecoveredRun
//	verify/web-01/v-web-01-5b0c77e1d2             VerifyMachine
//	compare/web-01/c-web-01-0d1f6a3e88            CompareMachine
//
// MakePoint is started by itself, VerifyMachine, CompareMachine and VerifyVault too, for instance by a schedule. For clients that know no updates, each operation is also a plain workflow ([TypeOf]): Failover with the input
// {"machine":"web-01"} asks the entity and waits for what it started.
//
// Invariants: a step's compensation is known before the step begins; compensation runs on a disconnected context, so that
// a cancelled workflow still cleans up; a test failover leaves nothing behind; a commit deletes no recovery point. A
// workflow holds no bytes, no cursors and no secrets. Histories of every workflow are replayed by tests/histories: a change
// of what a workflow does needs workflow.GetVersion.
package workflows
