package sim

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"farshore"
	"farshore/dataplane/chain"
	"farshore/dataplane/segment"
)

// Bug is one rule broken on purpose.
type Bug string

// The bugs that can be planted, each the opposite of a rule of the stream.
const (
	None              Bug = ""
	NoSeal            Bug = "no seal"
	SealLastOnly      Bug = "only the newest epoch below is sealed"
	SealBehindHole    Bug = "the seal is set behind the highest segment, not into the first hole"
	ResumeBeforeSeal  Bug = "the resume position is read before the seal has landed"
	AckOutOfOrder     Bug = "segments are acknowledged as their puts return"
	ConflictIsSuccess Bug = "a refused put is taken for success"
	ReaderSkipsHole   Bug = "the reader skips a hole"
	ForgetOnUnclean   Bug = "pending blocks are forgotten when an unclean end is durable"
	ForgetOnReconnect Bug = "pending blocks are not sent again in a new session"
	ReadThenClear     Bug = "blocks are read before their bits are cleared"
	MarkAtIssue       Bug = "blocks are marked when a write is issued, not when it completes"
	FuzzyIsClean      Bug = "a round without a freeze is offered as a point"
	NoIntent          Bug = "the applier stores no intent"
	AppliersUnfenced  Bug = "an applier that another has replaced goes on writing"

	OpenIntervalForgotten Bug = "a clean end makes the agent forget the interval under way, too"
	ClearedBeforeKept     Bug = "the kernel's bits are cleared before they are kept elsewhere"
	FreezeWithoutWaiting  Bug = "a frozen disk is read while writes are under way"
	WitnessIgnored        Bug = "nobody looks at the kernel's own count of writes"
	RebootUnnoticed       Bug = "a reboot is not noticed"
	EqualIsForgotten      Bug = "a chunk that equals the offer is taken out of what changed since"

	LaggingOffer       Bug = "the sink offers hashes of wherever it stands"
	OlderOffer         Bug = "an offer to an earlier epoch is taken"
	OfferOverGap       Bug = "a session goes on with its offer over a gap"
	ReadBeforeTracking Bug = "chunks are read before tracking has begun"
	CleanWhileOwed     Bug = "a cut is called clean while a base is owed"
	EraBeforeBase      Bug = "the new era is believed before the base is full"
	ForgottenJump      Bug = "what is pending is not sent again where a base is compared"
	BaseForgottenSent  Bug = "a block leaves the base when it is sent, not when that is durable"

	ComparesUnlooked   Bug = "a block is compared without a second look at what changed"
	ComparesOverFlight Bug = "a comparison does not ask for writes under way"
	ComparesPending    Bug = "what was pending when the session began is compared"
	ComparesElsewhere  Bug = "a comparison believes hashes of wherever the sink stands"

	HeirIgnored      Bug = "a stream that was released to an heir goes to whoever claims it first"
	HeirOwesNothing  Bug = "an heir believes what an image of its predecessor remembers, and owes nothing"
	FormerContinues  Bug = "a body that wrote once may claim again, though the stream was given to another"
	ReleaseForgotten Bug = "a release is forgotten when its heir has claimed and not yet written"
)

// ofBodies are the bugs that show only where a machine has several bodies.
var ofBodies = []Bug{HeirIgnored, HeirOwesNothing, FormerContinues, ReleaseForgotten}

// ofComparisons are the bugs that show only where disks are compared with their replica.
var ofComparisons = []Bug{ComparesUnlooked, ComparesOverFlight, ComparesPending, ComparesElsewhere}

// Bugs lists every bug that can be planted.
func Bugs() []Bug {
	return []Bug{
		NoSeal, SealLastOnly, SealBehindHole, ResumeBeforeSeal, AckOutOfOrder, ConflictIsSuccess, ReaderSkipsHole,
		ForgetOnUnclean, ForgetOnReconnect, ReadThenClear, MarkAtIssue, FuzzyIsClean, NoIntent, AppliersUnfenced,
		OpenIntervalForgotten, ClearedBeforeKept, FreezeWithoutWaiting, WitnessIgnored, RebootUnnoticed, EqualIsForgotten,
		LaggingOffer, OlderOffer, OfferOverGap, ReadBeforeTracking, CleanWhileOwed, EraBeforeBase, ForgottenJump, BaseForgottenSent,
		ComparesUnlooked, ComparesOverFlight, ComparesPending, ComparesElsewhere,
		HeirIgnored, HeirOwesNothing, FormerContinues, ReleaseForgotten,
	}
}

// The size of the world. Small worlds meet every interleaving sooner.
const (
	blocks       = 16
	servers      = 3
	maxInFlight  = 4                // puts under way per epoch
	segmentLimit = 6                // records that close a segment without a cut
	faultyFor    = 40 * time.Second // then the faults stop
	liveFor      = 40 * time.Second // and the world has so long to catch up
)

// Result is what became of one seed.
type Result struct {
	Violation   string // "" if everything held
	Faults      int
	Points      int // clean ends compared
	Checkpoints int // of the applier, compared
	Acks        int // durable acknowledgements checked
	Fenced      int
	Sessions    int
	GapSeals    int // seals set in front of segments that nobody may read
	Gaps        int // reboots and missed events
	Offers      int // made by the sink
	Compared    int // blocks
	Equal       int // of these
	Walked      int // blocks compared with the replica at a seal, though nothing was owed
	Touched     int // of these, written meanwhile
	Moves       int // of the machine to another body
	Refused     int // tries of a body whose turn it was not
}

// event is something that will happen.
type event struct {
	at time.Time
	n  uint64 // breaks ties: first scheduled, first served
	do func()
}

type events []event

func (q events) Len() int { return len(q) }
func (q events) Less(i, j int) bool {
	return q[i].at.Before(q[j].at) || q[i].at.Equal(q[j].at) && q[i].n < q[j].n
}
func (q events) Swap(i, j int) { q[i], q[j] = q[j], q[i] }

// Push implements heap.Interface.
func (q *events) Push(x any) { *q = append(*q, x.(event)) }

// Pop implements heap.Interface.
func (q *events) Pop() any {
	last := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return last
}

// image is what a disk holds: for each block, the number of the write it shows.
type image [blocks]int

// world is everything there is.
type world struct {
	Result
	rng     *rand.Rand
	bug     Bug
	now     time.Time
	pending events
	next    uint64
	quiet   bool // the faults are over

	vault   *vault
	servers []*server
	bodies  []*agent // of the machine
	agent   *agent   // the one whose turn it is
	moving  bool

	compares bool // some sessions compare the disk with its replica
	turns    []turn
	applier  *applier
	truth    map[string]image // what the disk held at each cut, by its label
}

// Run lives one seed through.
func Run(seed uint64, bug Bug) Result {
	w := &world{rng: rand.New(rand.NewPCG(seed, 0)), bug: bug, now: time.Unix(1_800_000_000, 0), truth: map[string]image{}}
	w.vault = newVault(w)
	for i := range servers {
		s := &server{world: w, id: i, up: true}
		w.servers = append(w.servers, s)
		w.every(5*time.Second, func() {
			if w.fault(200) {
				s.crash()
			}
		})
	}
	w.compares = seed%5 == 3 || slices.Contains(ofComparisons, bug)
	w.agent = newAgent(w)
	if w.compares {
		w.every(time.Second, func() { w.agent.beginComparison() })
	}
	w.applier = newApplier(w)
	if seed%5 == 2 || slices.Contains(ofBodies, bug) {
		w.every(movesEvery, w.mayMove)
	}
	w.until(w.now.Add(faultyFor))
	w.quiet = true
	for _, s := range w.servers {
		s.up = true
	}
	for _, a := range w.bodies {
		a.writesLeft = 0
	}
	w.until(w.now.Add(liveFor))
	w.vault.judge()
	w.agent.mustHaveConverged()
	return w.Result
}

func (w *world) until(end time.Time) {
	for len(w.pending) > 0 && w.Violation == "" && !w.pending[0].at.After(end) {
		e := heap.Pop(&w.pending).(event)
		w.now = e.at
		e.do()
	}
	w.now = end
}

// after lets something happen later.
func (w *world) after(d time.Duration, do func()) {
	w.next++
	heap.Push(&w.pending, event{at: w.now.Add(d), n: w.next, do: do})
}

// every lets something happen again and again, at uneven times.
func (w *world) every(mean time.Duration, do func()) {
	w.after(w.spread(mean), func() {
		do()
		w.every(mean, do)
	})
}

func (w *world) spread(mean time.Duration) time.Duration {
	return mean/2 + time.Duration(w.rng.Int64N(int64(mean)))
}

// fault decides whether a fault of this likelihood happens now.
func (w *world) fault(perMille int) bool {
	if w.quiet || w.rng.IntN(1000) >= perMille {
		return false
	}
	w.Faults++
	return true
}

// delay is how long a message or a request travels: mostly short, sometimes very long.
func (w *world) delay() time.Duration {
	if !w.quiet && w.rng.IntN(25) == 0 {
		return time.Duration(50+w.rng.IntN(3000)) * time.Millisecond
	}
	return time.Duration(1+w.rng.IntN(20)) * time.Millisecond
}

// violate records the first thing that did not hold.
func (w *world) violate(format string, args ...any) {
	if w.Violation == "" {
		w.Violation = fmt.Sprintf("at %s: ", w.now.Sub(time.Unix(1_800_000_000, 0))) + fmt.Sprintf(format, args...)
	}
}

var stream = chain.Stream{Vault: segment.VaultID{1}, Machine: "sim", Generation: 1}

func position(e farshore.Epoch, s farshore.Seq) farshore.Position {
	return farshore.Position{Generation: stream.Generation, Epoch: e, Seq: s}
}
