package nodes

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"time"

	"farshore"
	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/dataplane/host"
)

// Placer keeps every protected machine on a process server: it tells machines of servers that came later, takes them away
// from servers that are drained or lost, and evens the load out, one machine at a time. Agents find their way without it as
// long as a server of their list answers.
type Placer struct {
	Hub Hub
	Log *slog.Logger
	Now func() time.Time
	// Every is the pause between two looks; 0 means five seconds.
	Every time.Duration

	rates  map[farshore.MachineID]*sending
	names  map[string]string                // process servers by every address that they have had since this one looks
	called map[farshore.MachineID]time.Time // when a guest was called back to its host last
	moving *moving
}

// sending is how much a machine sends.
type sending struct {
	bytes uint64
	at    time.Time
	rate  float64
}

// moving is the machine that is being moved for balance.
type moving struct {
	move
	since time.Time
}

const (
	defaultPlaceEvery = 5 * time.Second
	// lostAfter is how long a process server may be silent until it counts as lost: nodes report every ten seconds.
	lostAfter = 45 * time.Second
	// moveWithin is how long a machine may take to settle at another server before the next is moved.
	moveWithin = 5 * time.Minute
	// rateMemory is over how long a machine's rate is averaged.
	rateMemory = 10 * time.Minute
	// fullAt is the part of its cache from which on a server gets no machine for balance.
	fullAt = 0.8
)

// Run places machines until ctx is done.
func (p *Placer) Run(ctx context.Context) error {
	every := p.Every
	if every == 0 {
		every = defaultPlaceEvery
	}
	for {
		if err := p.Look(ctx); err != nil && ctx.Err() == nil {
			p.Log.Warn("machines were not placed on process servers", "err", err)
		}
		if host.Pause(ctx, every) != nil {
			return nil
		}
	}
}

// Look looks at all nodes once, and tells those whose part has changed.
func (p *Placer) Look(ctx context.Context) error {
	servers, err := candidates(p.Hub, p.Now())
	if err != nil || len(servers) == 0 {
		return err
	}
	machines, err := p.machines(servers)
	if err != nil {
		return err
	}
	rehome(servers, machines)
	p.balance(servers, machines)
	rpo, err := thresholds(p.Hub, machines)
	if err != nil {
		return err
	}
	for _, s := range servers { // servers first: an agent that hears of a server must find it willing
		if err := accepts(ctx, p.Hub, s, rpo); err != nil {
			return err
		}
	}
	for _, m := range machines {
		if err := p.tell(ctx, m, servers); err != nil {
			return err
		}
	}
	return nil
}

func (p *Placer) tell(ctx context.Context, m placed, servers []candidate) error {
	addresses := order(m.machine, m.home, servers)
	if len(addresses) == 0 { // better a server that may come back than none
		return nil
	}
	addresses = p.callBack(m, addresses, servers)
	return setAgent(ctx, p.Hub, m.machine, func(d *farshorev1.AgentDesired) {
		if d.GetProtect() {
			d.ProcessServers = addresses
		}
	})
}

// callBack gives the addresses for a guest that uses another server than its host, which is there: an agent that is told
// another list tries its servers anew, from the first. So the host stands at the list's end, too, every other time.
func (p *Placer) callBack(m placed, addresses []string, servers []candidate) []string {
	hosted := slices.ContainsFunc(servers, func(c candidate) bool { return c.usable() && c.address == m.home && c.hosts(m.machine) })
	if !hosted || m.using == "" || m.using == m.home {
		return addresses
	}
	twice := append(slices.Clone(addresses), m.home)
	longer := slices.Equal(m.told, twice)
	if now := p.Now(); now.Sub(p.called[m.machine]) >= moveWithin {
		if p.called == nil {
			p.called = map[farshore.MachineID]time.Time{}
		}
		p.called[m.machine] = now
		longer = !longer
	}
	if longer {
		return twice
	}
	return addresses
}

// balance moves at most one machine, and none before the last one has settled.
func (p *Placer) balance(servers []candidate, machines []placed) {
	now := p.Now()
	if p.moving != nil {
		i := slices.IndexFunc(machines, func(m placed) bool { return m.machine == p.moving.machine })
		if i >= 0 && now.Sub(p.moving.since) < moveWithin && (!machines[i].settled || machines[i].using != p.moving.to) {
			return
		}
		p.moving = nil
	}
	m, ok := rebalance(servers, machines)
	if !ok {
		return
	}
	i := slices.IndexFunc(machines, func(x placed) bool { return x.machine == m.machine })
	p.Log.Info("a machine is moved to another process server", "machine", m.machine, "from", machines[i].home, "to", m.to)
	machines[i].home = m.to
	p.moving = &moving{m, now}
}

// candidates lists the process servers that have told their address.
func candidates(h Hub, now time.Time) ([]candidate, error) {
	ids, err := h.Enrolled(farshore.RoleProcessServer)
	if err != nil {
		return nil, err
	}
	var all []candidate
	for _, id := range ids {
		report, at, ok := h.Observed(id)
		o := report.GetProcessServer()
		if !ok || o.GetAddress() == "" {
			continue
		}
		doc, _, err := h.Desired(id)
		if err != nil {
			return nil, err
		}
		d := doc.GetProcessServer()
		all = append(all, candidate{
			name: id.Name, address: o.GetAddress(), silent: now.Sub(at) > lostAfter, drains: d.GetDrain(),
			full:     float64(o.GetCacheUsedBytes()) > fullAt*float64(o.GetCacheLimitBytes()),
			reserved: d.GetReserved(), guests: d.GetGuests(),
		})
	}
	return all, nil
}

// machines lists the machines that are protected.
func (p *Placer) machines(servers []candidate) ([]placed, error) {
	agents, err := p.Hub.Enrolled(farshore.RoleAgent)
	if err != nil {
		return nil, err
	}
	if p.rates == nil {
		p.rates = map[farshore.MachineID]*sending{}
	}
	now, seen := p.Now(), map[farshore.MachineID]bool{}
	var all []placed
	for _, id := range agents {
		m := farshore.MachineID(id.Name)
		doc, ok, err := p.Hub.Desired(id)
		if err != nil {
			return nil, err
		}
		if !ok || !doc.GetAgent().GetProtect() {
			continue
		}
		report, at, _ := p.Hub.Observed(id)
		one := where(doc.GetAgent(), report.GetAgent(), now.Sub(at) < lostAfter)
		one.machine, one.rate, seen[m] = m, p.rate(m, report.GetAgent().GetSentBytes(), at), true
		one.home, one.using = p.follow(one.home, servers), p.follow(one.using, servers)
		all = append(all, one)
	}
	maps.DeleteFunc(p.rates, func(m farshore.MachineID, _ *sending) bool { return !seen[m] })
	return all, nil
}

// where says where a machine is.
func where(d *farshorev1.AgentDesired, o *farshorev1.AgentObserved, fresh bool) placed {
	var one placed
	one.told = d.GetProcessServers()
	if len(one.told) > 0 {
		one.home = one.told[0]
	}
	if fresh {
		one.using = o.GetProcessServer()
	}
	one.settled = one.using != "" && one.using == one.home && o.GetPhase() == farshorev1.AgentPhase_AGENT_PHASE_PROTECTED
	return one
}

// follow gives the present address of the server that an address was of.
func (p *Placer) follow(address string, servers []candidate) string {
	if p.names == nil {
		p.names = map[string]string{}
	}
	for _, s := range servers {
		p.names[s.address] = s.name
	}
	for _, s := range servers {
		if s.name == p.names[address] {
			return s.address
		}
	}
	return address
}

// rate gives the bytes that a machine sends in a second, of late. An agent that was restarted counts from zero again.
func (p *Placer) rate(m farshore.MachineID, sent uint64, at time.Time) float64 {
	s := p.rates[m]
	if s == nil {
		s = &sending{bytes: sent, at: at}
		p.rates[m] = s
	}
	passed := at.Sub(s.at)
	if passed <= 0 {
		return s.rate
	}
	if sent >= s.bytes {
		weight := min(1, float64(passed)/float64(rateMemory))
		s.rate += (float64(sent-s.bytes)/passed.Seconds() - s.rate) * weight
	}
	s.bytes, s.at = sent, at
	return s.rate
}

// thresholds gives the RPO thresholds of machines, as some process server was told them; 0: none was.
func thresholds(h Hub, machines []placed) (map[farshore.MachineID]uint32, error) {
	ids, err := h.Enrolled(farshore.RoleProcessServer)
	if err != nil {
		return nil, err
	}
	all := map[farshore.MachineID]uint32{}
	for _, id := range ids {
		doc, _, err := h.Desired(id)
		if err != nil {
			return nil, err
		}
		told := doc.GetProcessServer().GetRpoSeconds()
		for _, m := range machines {
			all[m.machine] = max(all[m.machine], told[string(m.machine)])
		}
	}
	return all, nil
}

// accepts has a process server take the streams of machines, with the RPO thresholds of their policies in seconds, besides
// those that it takes already. One that is drained keeps those it has, and refuses them by itself: it would end at once the
// sessions of machines that it no longer accepts.
func accepts(ctx context.Context, h Hub, s candidate, rpo map[farshore.MachineID]uint32) error {
	if s.drains {
		return nil
	}
	return SetServer(ctx, h, s.name, func(d *farshorev1.ProcessServerDesired) {
		for m, threshold := range rpo {
			if !s.takes(m) {
				continue
			}
			d.Machines = append(d.Machines, string(m))
			if d.RpoSeconds == nil {
				d.RpoSeconds = map[string]uint32{}
			}
			if threshold > 0 {
				d.RpoSeconds[string(m)] = threshold
			}
		}
		slices.Sort(d.Machines)
		d.Machines = slices.Compact(d.Machines)
	})
}
