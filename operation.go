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
	Reprotect           Operation = "reprotect"             // replicate the machine home from the recovery site
	CancelReprotect     Operation = "cancel-reprotect"      // give the way home up; the machine stays at the recovery site
	Failback            Operation = "failback"              // stop the machine at the recovery site and start it at home
	CommitFailback      Operation = "commit-failback"       // declare that it stays at home; replication goes on from there
	CancelFailback      Operation = "cancel-failback"       // take an uncommitted failback back
	SetFailbackPolicy   Operation = "set-failback-policy"   // change how it is replicated home
	SetPolicy           Operation = "set-policy"            // change how it is replicated, and how long its points stay
)

// Operations lists the operations in the order of a machine's life.
func Operations() []Operation {
	return []Operation{
		Enable, Disable, Pause, Resume, Resync, TestFailover, CleanupTest, Failover, ChangeRecoveryPoint, Commit,
		CancelFailover, Reprotect, CancelReprotect, Failback, CommitFailback, CancelFailback, SetFailbackPolicy,
		SetPolicy,
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

	failOver       = "run: farshore failover start %s"
	reprotectIt    = "run: farshore reprotect start %s --home home.yaml"
	endReprotect   = "wait until it is done, or run: farshore reprotect cancel %s"
	endFailback    = "wait until it is done, or run: farshore failback cancel %s"
	commitFailback = "run: farshore failback commit %[1]s, or: farshore failback cancel %[1]s"
)

// The locations that several rows share.
var (
	// out is where a failover brings a machine.
	out = []Location{FailingOver, CommitPending, Recovery, Cancelling}
	// homeward is from the beginning of a reprotect to the commit of a failback.
	homeward = []Location{Reprotecting, ReverseProtected, FailingBack, FailbackCommitPending}
	// stays is where a failover is committed.
	stays = []Location{Recovery, Reprotecting, ReverseProtected, FailingBack, FailbackCommitPending}
	// notFailedBack is where there is no failback.
	notFailedBack = []Location{Primary, FailingOver, CommitPending, Recovery, Cancelling, Reprotecting, ReverseProtected}
)

// refusals is the one table of what is refused when, and what the person is told. The first row that holds speaks; an
// operation that no row refuses is allowed. A running test failover refuses nothing but disabling: it never blocks a
// failover. The states of the nodes stand in no row of failover: it must work with the source dead.
var refusals = []refusal{
	{Enable, condition{protection: []Protection{Enabling, InitialReplication, Protected, Resyncing, Paused, Stalled}}, "it is protected already", seeState},
	{Enable, condition{protection: []Protection{Disabling}}, "its protection is just being disabled", waitFor},
	{Enable, condition{location: append(slices.Clone(out), homeward...)}, "it does not run at its primary location", seeState},

	{Disable, condition{protection: []Protection{Unprotected}}, "it is not protected", enableIt},
	{Disable, condition{protection: []Protection{Disabling}}, "its protection is just being disabled", waitFor},
	{Disable, condition{location: []Location{FailingOver, Cancelling}}, "a failover is under way", waitFor},
	{Disable, condition{location: []Location{CommitPending}}, "a failover waits for its commit", commitOr},
	{Disable, condition{location: []Location{Reprotecting}}, "a reprotect is under way", endReprotect},
	{Disable, condition{location: []Location{ReverseProtected}}, "it is replicated home", "run: farshore reprotect cancel %s"},
	{Disable, condition{location: []Location{FailingBack}}, "a failback is under way", endFailback},
	{Disable, condition{location: []Location{FailbackCommitPending}}, "a failback waits for its commit", commitFailback},
	{Disable, condition{drill: true}, "a test failover stands", "run: farshore failover cleanup %s"},

	{Pause, condition{protection: []Protection{Unprotected}}, "it is not protected", enableIt},
	{Pause, condition{protection: []Protection{Enabling, Disabling}}, "its protection is just being changed", waitFor},
	{Pause, condition{protection: []Protection{Paused}}, "it is paused already", "run: farshore machine resume %s"},
	{Pause, condition{location: out}, "its source does not replicate: it was failed over", seeState},
	{Pause, condition{location: homeward}, "it was failed over and is on its way home", seeState},

	{Resume, condition{protection: []Protection{Unprotected}}, "it is not protected", enableIt},
	{Resume, condition{protection: []Protection{Enabling, InitialReplication, Protected, Resyncing, Stalled, Disabling}}, "it is not paused", seeState},
	{Resume, condition{location: out}, "its source does not replicate: it was failed over", seeState},
	{Resume, condition{location: homeward}, "it was failed over and is on its way home", seeState},

	{Resync, condition{protection: []Protection{Unprotected}}, "it is not protected", enableIt},
	{Resync, condition{protection: []Protection{Enabling, Disabling}}, "its protection is just being changed", waitFor},
	{Resync, condition{protection: []Protection{InitialReplication, Resyncing}}, "everything is being copied already", waitFor},
	{Resync, condition{protection: []Protection{Paused}}, "it is paused", "run: farshore machine resume %s"},
	{Resync, condition{location: out}, "its source does not replicate: it was failed over", seeState},
	{Resync, condition{location: homeward}, "it was failed over and is on its way home", seeState},

	{TestFailover, condition{protection: []Protection{Unprotected}}, "it is not protected", enableIt},
	{TestFailover, condition{protection: []Protection{Disabling}}, "its protection is just being disabled", waitFor},
	{TestFailover, condition{noPoint: true}, "it has no recovery point yet", awaitBase},

	{CleanupTest, condition{noDrill: true}, "no test failover stands", "run: farshore failover test %s"},

	{Failover, condition{protection: []Protection{Unprotected}}, "it is not protected", enableIt},
	{Failover, condition{protection: []Protection{Disabling}}, "its protection is just being disabled", waitFor},
	{Failover, condition{location: []Location{FailingOver}}, "a failover is under way", waitFor},
	{Failover, condition{location: []Location{CommitPending}}, "a failover waits for its commit", commitOr},
	{Failover, condition{location: []Location{Recovery, Reprotecting, ReverseProtected}}, "it runs at the recovery site already", seeState},
	{Failover, condition{location: []Location{FailingBack}}, "a failback is under way", endFailback},
	{Failover, condition{location: []Location{FailbackCommitPending}}, "a failback waits for its commit", commitFailback},
	{Failover, condition{location: []Location{Cancelling}}, "the last failover is just being taken back", waitFor},
	{Failover, condition{noPoint: true}, "it has no recovery point yet", awaitBase},

	{ChangeRecoveryPoint, condition{location: []Location{Primary}}, "it was not failed over", failOver},
	{ChangeRecoveryPoint, condition{location: []Location{FailingOver, Cancelling}}, "a failover is under way", waitFor},
	{ChangeRecoveryPoint, condition{location: stays}, "the failover is committed", "try another point in a test: farshore failover test %s"},

	{Commit, condition{location: []Location{Primary}}, "there is no failover to commit", failOver},
	{Commit, condition{location: []Location{FailingOver, Cancelling}}, "a failover is under way", waitFor},
	{Commit, condition{location: stays}, "the failover is committed already", seeState},

	{CancelFailover, condition{location: []Location{Primary}}, "there is no failover to cancel", seeState},
	{CancelFailover, condition{location: stays}, "the failover is committed", seeState},
	{CancelFailover, condition{location: []Location{Cancelling}}, "it is just being taken back", waitFor},

	{Reprotect, condition{protection: []Protection{Unprotected}}, "it is not protected", enableIt},
	{Reprotect, condition{protection: []Protection{Disabling}}, "its protection is just being disabled", waitFor},
	{Reprotect, condition{location: []Location{Primary}}, "it was not failed over", failOver},
	{Reprotect, condition{location: []Location{FailingOver, Cancelling}}, "a failover is under way", waitFor},
	{Reprotect, condition{location: []Location{CommitPending}}, "a failover waits for its commit", commitOr},
	{Reprotect, condition{location: []Location{Reprotecting}}, "a reprotect is under way", endReprotect},
	{Reprotect, condition{location: []Location{FailingBack}}, "a failback is under way", endFailback},
	{Reprotect, condition{location: []Location{FailbackCommitPending}}, "a failback waits for its commit", commitFailback},

	{CancelReprotect, condition{location: []Location{Primary}}, "it was not failed over", failOver},
	{CancelReprotect, condition{location: []Location{FailingOver, Cancelling}}, "a failover is under way", waitFor},
	{CancelReprotect, condition{location: []Location{CommitPending, Recovery}}, "it is not replicated home", reprotectIt},
	{CancelReprotect, condition{location: []Location{FailingBack}}, "a failback is under way", endFailback},
	{CancelReprotect, condition{location: []Location{FailbackCommitPending}}, "a failback waits for its commit", commitFailback},

	{Failback, condition{location: []Location{Primary}}, "it was not failed over", failOver},
	{Failback, condition{location: []Location{FailingOver, Cancelling}}, "a failover is under way", waitFor},
	{Failback, condition{location: []Location{CommitPending}}, "a failover waits for its commit", commitOr},
	{Failback, condition{location: []Location{Recovery}}, "it is not replicated home", reprotectIt},
	{Failback, condition{location: []Location{Reprotecting}}, "its disks are not home yet", endReprotect},
	{Failback, condition{location: []Location{FailingBack}}, "a failback is under way", endFailback},
	{Failback, condition{location: []Location{FailbackCommitPending}}, "a failback waits for its commit", commitFailback},

	{CommitFailback, condition{location: []Location{FailingBack}}, "a failback is under way", endFailback},
	{CommitFailback, condition{location: notFailedBack}, "there is no failback to commit", seeState},

	{CancelFailback, condition{location: notFailedBack}, "there is no failback to cancel", seeState},

	{SetFailbackPolicy, condition{protection: []Protection{Unprotected}}, "it is not protected", enableIt},
	{SetFailbackPolicy, condition{protection: []Protection{Disabling}}, "its protection is just being disabled", waitFor},

	{SetPolicy, condition{protection: []Protection{Unprotected}}, "it is not protected", enableIt},
	{SetPolicy, condition{protection: []Protection{Enabling, Disabling}}, "its protection is just being changed", waitFor},
}
