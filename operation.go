package farshore

import "slices"

// Operation is something a person can ask of a replicated machine.
type Operation string

// The operations.
const (
	Enable              Operation = "enable"                // protect the machine
	Disable             Operation = "disable"               // stop protecting it; its recovery points stay in the vault
	Pause               Operation = "pause"                 // send nothing, go on tracking
	Resume              Operation = "resume"                // send again
	Resync              Operation = "resync"                // copy everything again, into a new generation
	TestFailover        Operation = "test-failover"         // start a copy in an isolated network, replication goes on
	CleanupTest         Operation = "cleanup-test"          // remove a test failover without a trace
	Failover            Operation = "failover"              // fence the source and start the machine at the recovery site
	ChangeRecoveryPoint Operation = "change-recovery-point" // after a failover, before its commit: start from another point
	Commit              Operation = "commit"                // declare that the machine stays at the recovery site
	CancelFailover      Operation = "cancel-failover"       // take an uncommitted failover back
)

// Operations lists the operations in the order of a machine's life.
func Operations() []Operation {
	return []Operation{
		Enable, Disable, Pause, Resume, Resync, TestFailover, CleanupTest, Failover, ChangeRecoveryPoint, Commit,
		CancelFailover,
	}
}

// refusal is one row of the table of operations: op is refused when the condition holds.
type refusal struct {
	operation    Operation
	when         condition
	what, remedy string // remedy has one %s for the machine's name
}

// condition names states; it holds when the machine is in one of each region that is named.
type condition struct {
	protection []Protection
	location   []Location
	noPoint    bool // holds when there is no recovery point
	noDrill    bool // holds when no test failover stands
	drill      bool // holds when a test failover stands
}

func (c condition) holds(s State) bool {
	return (c.protection == nil || slices.Contains(c.protection, s.Protection)) &&
		(c.location == nil || slices.Contains(c.location, s.Location)) &&
		(!c.noPoint || !s.Points) && (!c.noDrill || len(s.Drills) == 0) && (!c.drill || len(s.Drills) > 0)
}

// The remedies that several rows share.
const (
	seeState  = "see: farshore machine show %s"
	enableIt  = "run: farshore machine enable %s"
	waitFor   = "wait until it is done: farshore machine show %s --watch"
	commitOr  = "run: farshore failover commit %[1]s, or: farshore failover cancel %[1]s"
	awaitBase = "wait for the initial replication to end: farshore machine show %s --watch"
)

// refusals is the one table of what is refused when, and what the person is told. The first row that holds speaks; an
// operation that no row refuses is allowed. A running test failover refuses nothing but disabling: it never blocks a
// failover. The states of the nodes stand in no row of failover: it must work with the source dead.
var refusals = []refusal{
	{Enable, condition{protection: []Protection{Enabling, InitialReplication, Protected, Resyncing, Paused, Stalled}}, "it is protected already", seeState},
	{Enable, condition{protection: []Protection{Disabling}}, "its protection is just being disabled", waitFor},
	{Enable, condition{location: []Location{FailingOver, CommitPending, Recovery, Cancelling}}, "it does not run at its primary location", seeState},

	{Disable, condition{protection: []Protection{Unprotected}}, "it is not protected", enableIt},
	{Disable, condition{protection: []Protection{Disabling}}, "its protection is just being disabled", waitFor},
	{Disable, condition{location: []Location{FailingOver, Cancelling}}, "a failover is under way", waitFor},
	{Disable, condition{location: []Location{CommitPending}}, "a failover waits for its commit", commitOr},
	{Disable, condition{drill: true}, "a test failover stands", "run: farshore failover cleanup %s"},

	{Pause, condition{protection: []Protection{Unprotected}}, "it is not protected", enableIt},
	{Pause, condition{protection: []Protection{Enabling, Disabling}}, "its protection is just being changed", waitFor},
	{Pause, condition{protection: []Protection{Paused}}, "it is paused already", "run: farshore machine resume %s"},
	{Pause, condition{location: []Location{FailingOver, CommitPending, Recovery, Cancelling}}, "its source does not replicate: it was failed over", seeState},

	{Resume, condition{protection: []Protection{Unprotected}}, "it is not protected", enableIt},
	{Resume, condition{protection: []Protection{Enabling, InitialReplication, Protected, Resyncing, Stalled, Disabling}}, "it is not paused", seeState},
	{Resume, condition{location: []Location{FailingOver, CommitPending, Recovery, Cancelling}}, "its source does not replicate: it was failed over", seeState},

	{Resync, condition{protection: []Protection{Unprotected}}, "it is not protected", enableIt},
	{Resync, condition{protection: []Protection{Enabling, Disabling}}, "its protection is just being changed", waitFor},
	{Resync, condition{protection: []Protection{InitialReplication, Resyncing}}, "everything is being copied already", waitFor},
	{Resync, condition{protection: []Protection{Paused}}, "it is paused", "run: farshore machine resume %s"},
	{Resync, condition{location: []Location{FailingOver, CommitPending, Recovery, Cancelling}}, "its source does not replicate: it was failed over", seeState},

	{TestFailover, condition{protection: []Protection{Unprotected}}, "it is not protected", enableIt},
	{TestFailover, condition{protection: []Protection{Disabling}}, "its protection is just being disabled", waitFor},
	{TestFailover, condition{noPoint: true}, "it has no recovery point yet", awaitBase},

	{CleanupTest, condition{noDrill: true}, "no test failover stands", "run: farshore failover test %s"},

	{Failover, condition{protection: []Protection{Unprotected}}, "it is not protected", enableIt},
	{Failover, condition{protection: []Protection{Disabling}}, "its protection is just being disabled", waitFor},
	{Failover, condition{location: []Location{FailingOver}}, "a failover is under way", waitFor},
	{Failover, condition{location: []Location{CommitPending}}, "a failover waits for its commit", commitOr},
	{Failover, condition{location: []Location{Recovery}}, "it runs at the recovery site already", seeState},
	{Failover, condition{location: []Location{Cancelling}}, "the last failover is just being taken back", waitFor},
	{Failover, condition{noPoint: true}, "it has no recovery point yet", awaitBase},

	{ChangeRecoveryPoint, condition{location: []Location{Primary}}, "it was not failed over", "run: farshore failover start %s"},
	{ChangeRecoveryPoint, condition{location: []Location{FailingOver, Cancelling}}, "a failover is under way", waitFor},
	{ChangeRecoveryPoint, condition{location: []Location{Recovery}}, "the failover is committed", "try another point in a test: farshore failover test %s"},

	{Commit, condition{location: []Location{Primary}}, "there is no failover to commit", "run: farshore failover start %s"},
	{Commit, condition{location: []Location{FailingOver, Cancelling}}, "a failover is under way", waitFor},
	{Commit, condition{location: []Location{Recovery}}, "the failover is committed already", seeState},

	{CancelFailover, condition{location: []Location{Primary}}, "there is no failover to cancel", seeState},
	{CancelFailover, condition{location: []Location{Recovery}}, "the failover is committed", seeState},
	{CancelFailover, condition{location: []Location{Cancelling}}, "it is just being taken back", waitFor},
}
