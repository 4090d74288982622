package peers

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"farshore"
	"farshore/dataplane/credential"
	"farshore/dataplane/group"
)

// Port is where machines of a group listen unless the group says otherwise.
const Port = 20004

const (
	tickEvery  = 100 * time.Millisecond
	retryAfter = 30 * time.Second // behind a round without a point
	keepWithin = time.Minute
	maxEvents  = 64
)

// Cutter holds and cuts one machine.
type Cutter interface {
	// Able says why the machine can have no part in a round now; "": it can.
	Able() string
	// Do does what a round asks for. It ends with ctx. Of Sealed it gives the signed part.
	Do(ctx context.Context, d group.Do) (part []byte, err error)
	// Abandon lets go whatever the round holds. It waits for nothing.
	Abandon(farshore.Round)
	// Keep signs a point that this machine has led to and puts it into the vault.
	Keep(ctx context.Context, k group.Keep) error
	// Outcome is told how a round ended that this machine led, and, with neither a reason nor missing machines, that nothing stands in
	// the way of its group any more, as far as this machine knows.
	Outcome(group farshore.GroupID, e group.Ended)
}

// Group is the group that a machine belongs to.
type Group struct {
	Name    farshore.GroupID // "": it belongs to none
	Every   time.Duration    // how often a point is made
	Members []Member         // the machine itself among them
}

// Member is a machine of a group.
type Member struct {
	Machine farshore.MachineID
	Address string // host:port that the others dial
}

func (g Group) equal(o Group) bool {
	return g.Name == o.Name && g.Every == o.Every && slices.Equal(g.Members, o.Members)
}

// names are the members in the order of their names, which is that of who leads.
func (g Group) names() []farshore.MachineID {
	var all []farshore.MachineID
	for _, m := range g.Members {
		all = append(all, m.Machine)
	}
	slices.Sort(all)
	return all
}

func (g Group) address(m farshore.MachineID) string {
	i := slices.IndexFunc(g.Members, func(o Member) bool { return o.Machine == m })
	if i < 0 {
		return ""
	}
	return g.Members[i].Address
}

// Config is what one end needs.
type Config struct {
	Machine farshore.MachineID
	Node    *credential.Node
	Cutter  Cutter
	Times   group.Times
	Log     *slog.Logger
	Now     func() time.Time
}

// Peers is one machine's end. Make it with [New].
type Peers struct {
	config Config

	mu      sync.Mutex
	desired Group
	changed chan struct{} // has one element when desired changed

	// What follows belongs to the goroutine of Run.
	wg       sync.WaitGroup
	events   chan func()
	group    Group
	lead     *group.Lead
	member   *group.Member
	heard    farshore.Round // the highest that another member has answered
	links    map[farshore.MachineID]*link
	callers  map[farshore.MachineID]*link
	work     map[farshore.Round]context.CancelFunc // what the Cutter does for a round
	last     time.Time                             // of the last point
	tried    time.Time                             // when a round was begun here
	counted  uint64                                // points that the member has heard of
	listener net.Listener
}

// New makes an end that belongs to no group.
func New(c Config) *Peers {
	return &Peers{
		config: c, changed: make(chan struct{}, 1), events: make(chan func(), maxEvents), lead: group.NewLead(c.Machine, c.Times), member: group.NewMember(c.Times),
		links: map[farshore.MachineID]*link{}, callers: map[farshore.MachineID]*link{}, work: map[farshore.Round]context.CancelFunc{},
	}
}

// Desire tells which group the machine belongs to from now on.
func (p *Peers) Desire(g Group) {
	p.mu.Lock()
	p.desired = g
	p.mu.Unlock()
	select {
	case p.changed <- struct{}{}:
	default:
	}
}

// Run takes part in the group until ctx ends, and then returns nil.
func (p *Peers) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer p.wg.Wait()
	defer cancel()
	ticker := time.NewTicker(tickEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			p.leave(ctx)
			return nil
		case <-p.changed:
			p.mu.Lock()
			g := p.desired
			p.mu.Unlock()
			if !g.equal(p.group) {
				p.join(ctx, g)
			}
		case do := <-p.events:
			do()
		case <-ticker.C:
			p.tick(ctx)
		}
	}
}

// post has something done by Run's goroutine.
func (p *Peers) post(ctx context.Context, do func()) {
	select {
	case p.events <- do:
	case <-ctx.Done():
	}
}

// join leaves the group that the machine was in and takes part in another, or in the same one with other members.
func (p *Peers) join(ctx context.Context, g Group) {
	p.leave(ctx)
	p.config.Cutter.Outcome(p.group.Name, group.Ended{})
	p.group, p.last, p.tried = g, p.config.Now().Add(-g.Every), time.Time{}
	if g.Name != "" {
		p.listen(ctx)
	}
}

// leave ends whatever is under way.
func (p *Peers) leave(ctx context.Context) {
	now := p.config.Now()
	for _, l := range p.callers {
		l.end()
		p.carry(ctx, p.member.Step(now, group.Gone{Machine: l.machine}))
	}
	for _, m := range p.group.names() {
		p.carry(ctx, p.lead.Step(now, group.Gone{Machine: m, Why: "the group has changed"}))
	}
	for _, l := range p.links {
		l.end()
	}
	clear(p.callers)
	clear(p.links)
	if p.listener != nil {
		p.closed(p.listener.Close())
		p.listener = nil
	}
}

func (p *Peers) closed(err error) {
	if err != nil && !errors.Is(err, net.ErrClosed) {
		p.config.Log.Debug("a connection between members was not closed in order", "err", err)
	}
}

// tick lets time go by, and begins a round when one is due.
func (p *Peers) tick(ctx context.Context) {
	now := p.config.Now()
	if p.group.Name != "" && p.listener == nil {
		p.listen(ctx)
	}
	p.carry(ctx, p.member.Step(now, group.Tick{}))
	p.carry(ctx, p.lead.Step(now, group.Tick{}))
	if n := p.member.Kept(); n != p.counted {
		p.counted, p.last = n, now // of a round that another machine has led: what was wrong with one of this machine's is over
		p.config.Cutter.Outcome(p.group.Name, group.Ended{})
	}
	if p.group.Name == "" || !p.lead.Idle() || p.member.Busy() || !p.due(now) || p.config.Cutter.Able() != "" {
		return
	}
	p.tried = now
	round := max(farshore.Round(now.UnixMilli()), p.member.Highest()+1, p.heard+1)
	p.carry(ctx, p.lead.Step(now, group.Begin{Group: p.group.Name, Round: round, Members: p.group.names()}))
}

// due reports whether this machine has to begin a round.
func (p *Peers) due(now time.Time) bool {
	rank := slices.Index(p.group.names(), p.config.Machine)
	again := min(retryAfter, p.group.Every)
	return rank >= 0 && now.Sub(p.last) >= group.Due(p.group.Every, rank) && now.Sub(p.tried) >= again
}

// carry carries effects out. A step uses their memory again, so they are copied.
func (p *Peers) carry(ctx context.Context, effects []group.Effect) {
	for _, e := range slices.Clone(effects) {
		switch e := e.(type) {
		case group.Send:
			p.send(ctx, e)
		case group.Do:
			p.do(ctx, e)
		case group.Abandon:
			if cancel := p.work[e.Round]; cancel != nil {
				cancel()
				delete(p.work, e.Round)
			}
			p.config.Cutter.Abandon(e.Round)
		case group.Keep:
			p.keep(ctx, e)
		case group.Ended:
			for _, l := range p.links {
				l.end()
			}
			clear(p.links)
			if e.Why == "" {
				p.counted, p.last = p.member.Kept(), p.config.Now()
			}
			p.config.Cutter.Outcome(p.group.Name, e)
		}
	}
}

// do has the Cutter work, and steps the member with what came of it.
func (p *Peers) do(ctx context.Context, d group.Do) {
	working, cancel := context.WithCancel(ctx)
	if before := p.work[d.Round]; before != nil {
		before()
	}
	p.work[d.Round] = cancel
	p.wg.Go(func() {
		part, err := p.config.Cutter.Do(working, d)
		why := ""
		if err != nil {
			why = err.Error()
		}
		p.post(ctx, func() {
			p.carry(ctx, p.member.Step(p.config.Now(), group.Did{Round: d.Round, Kind: d.Kind, Why: why, Part: part}))
		})
	})
}

func (p *Peers) keep(ctx context.Context, k group.Keep) {
	p.wg.Go(func() {
		keeping, cancel := context.WithTimeout(ctx, keepWithin)
		defer cancel()
		why := ""
		if err := p.config.Cutter.Keep(keeping, k); err != nil {
			why = "the point could not be put into the vault: " + err.Error()
		}
		p.post(ctx, func() {
			p.carry(ctx, p.lead.Step(p.config.Now(), group.Kept{Round: k.Round, Why: why}))
		})
	})
}

// send sends a message: a leader's over the link that it has dialled, an answer back to whoever called.
func (p *Peers) send(ctx context.Context, s group.Send) {
	if s.To == p.config.Machine {
		p.received(ctx, s.To, s.Message)
		return
	}
	ends := p.callers
	if s.Message.Kind.Leads() {
		ends = p.links
		if s.Message.Kind == group.Call {
			p.links[s.To] = p.dial(ctx, s.To)
		}
	}
	if l := ends[s.To]; l != nil {
		l.send(s.Message)
	}
}

// received takes a message, its own too.
func (p *Peers) received(ctx context.Context, from farshore.MachineID, m group.Message) {
	now, e := p.config.Now(), group.Received{From: from, Message: m}
	if m.Kind.Leads() {
		p.carry(ctx, p.member.Step(now, e))
		return
	}
	p.heard = max(p.heard, m.Highest)
	p.carry(ctx, p.lead.Step(now, e))
}

// isMember reports whether a machine is of the group, besides this one.
func (p *Peers) isMember(m farshore.MachineID) bool {
	return m != p.config.Machine && slices.Contains(p.group.names(), m)
}

// gone ends one end of a link, if it is still the one.
func (p *Peers) gone(ctx context.Context, ends map[farshore.MachineID]*link, l *link, why string) {
	if ends[l.machine] != l {
		return
	}
	delete(ends, l.machine)
	now := p.config.Now()
	if l.dialled {
		p.carry(ctx, p.lead.Step(now, group.Gone{Machine: l.machine, Why: why}))
		return
	}
	p.carry(ctx, p.member.Step(now, group.Gone{Machine: l.machine}))
}
