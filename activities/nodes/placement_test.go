package nodes

import (
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"farshore"
	"farshore/activities"
	farshorev1 "farshore/api/gen/farshore/v1"
)

func names(n int) (all []candidate) {
	for i := range n {
		all = append(all, candidate{name: fmt.Sprint("hq-", i), address: fmt.Sprint("10.0.0.", i, ":9443")})
	}
	return all
}

func TestMachinesFindAHome(t *testing.T) {
	a, b, c := "10.0.0.0:9443", "10.0.0.1:9443", "10.0.0.2:9443"
	rows := []struct {
		name   string
		change func(s []candidate)
		one    placed
		want   string
	}{
		{"a new one goes where least is", func([]candidate) {}, placed{}, b},
		{"one that has a home keeps it", func([]candidate) {}, placed{home: a}, a},
		{"one whose home is drained leaves it, though it uses it", func(s []candidate) { s[0].drains = true }, placed{home: a, using: a}, c},
		{"one whose home is lost stays where its agent went", func(s []candidate) { s[0].silent = true }, placed{home: a, using: c}, c},
		{"one whose home is only silent here stays", func(s []candidate) { s[0].silent = true }, placed{home: a, using: a}, a},
		{"one whose home was removed", func([]candidate) {}, placed{home: "10.9.9.9:9443"}, b},
		{"one stays when nobody else is there", func(s []candidate) { s[0].silent, s[1].silent, s[2].silent = true, true, true }, placed{home: a}, a},
	}
	for _, r := range rows {
		servers := names(3)
		r.change(servers)
		machines := []placed{{machine: "x", home: c}, {machine: "y", home: a, rate: 1 << 20}, r.one}
		rehome(servers, machines)
		if got := machines[2].home; got != r.want {
			t.Errorf("%s: %s, want %s", r.name, got, r.want)
		}
	}
}

func TestAReservedServerHasItsGuestsAndNobodyElse(t *testing.T) {
	a, b, c := "10.0.0.0:9443", "10.0.0.1:9443", "10.0.0.2:9443"
	rows := []struct {
		name   string
		change func(host *candidate)
		one    placed
		want   string
	}{
		{"another machine is not placed there, though it carries least", func(*candidate) {}, placed{machine: "other"}, b},
		{"a guest is, whatever it uses", func(*candidate) {}, placed{machine: "guest", home: a, using: a}, c},
		{"a guest of a lost host stays where its agent went", func(h *candidate) { h.silent = true }, placed{machine: "guest", home: c, using: a}, a},
		{"a guest of a host that is only silent here stays", func(h *candidate) { h.silent = true }, placed{machine: "guest", home: c, using: c}, c},
		{"one that is a guest no more leaves it", func(h *candidate) { h.guests = nil }, placed{machine: "guest", home: c, using: c}, b},
	}
	for _, r := range rows {
		servers := names(3)
		servers[2].reserved, servers[2].guests = true, []string{"guest"}
		r.change(&servers[2])
		machines := []placed{{machine: "x", home: a}, r.one}
		rehome(servers, machines)
		if got := machines[1].home; got != r.want {
			t.Errorf("%s: %s, want %s", r.name, got, r.want)
		}
		host := servers[2]
		for _, m := range machines {
			list := order(m.machine, m.home, servers)
			if slices.Contains(list, c) != host.hosts(m.machine) || list[0] != m.home {
				t.Errorf("%s: machine %s may use %v", r.name, m.machine, list)
			}
		}
	}
}

func TestAGuestIsCalledBackToItsHostNowAndThen(t *testing.T) {
	const usual, near = "10.0.0.1:9443", "10.0.0.2:9443"
	b, now := site(), start
	b.enrolled = []farshore.Identity{web, hq1, hq2, west}
	in := on()
	in.ProcessServer = "hq-2"
	_, err := do(t, b, activities.SetProtection, in)
	must(t, err)
	told := func() []string { return b.desired[web].GetAgent().GetProcessServers() }
	if got := told(); !slices.Equal(got, []string{near, usual}) {
		t.Fatalf("the machine shall use %v", got)
	}
	p := &Placer{Hub: b, Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return now }}
	calls := 0
	for range 12 * 6 { // twelve minutes
		now = now.Add(10 * time.Second)
		before := told()
		b.uses(usual, 1, now)
		b.heard(hq1, now)
		b.heard(hq2, now)
		must(t, p.Look(t.Context()))
		if !slices.Equal(before, told()) {
			calls++
		}
		if told()[0] != near {
			t.Fatalf("the machine shall use %v", told())
		}
	}
	if calls != 3 {
		t.Errorf("its agent was called back %d times in twelve minutes, want 3", calls)
	}
	in.ProcessServer = ""
	_, err = do(t, b, activities.SetProtection, in)
	must(t, err)
	b.uses(near, 1, now)
	must(t, p.Look(t.Context()))
	if d := b.desired[hq2].GetProcessServer(); len(d.GetGuests()) > 0 {
		t.Errorf("after it came home it is still a guest: %v", d)
	}
}

func TestALostServersMachinesSpreadOverAllThatAreLeft(t *testing.T) {
	servers, second := names(4), map[string]int{}
	for i := range 300 {
		list := order(farshore.MachineID(fmt.Sprint("m-", i)), servers[0].address, servers)
		if len(list) != 4 || list[0] != servers[0].address {
			t.Fatalf("list %v", list)
		}
		second[list[1]]++
	}
	for address, n := range second {
		if n < 60 || n > 140 {
			t.Errorf("%d of 300 machines go to %s next", n, address)
		}
	}
	servers[1].drains, servers[2].silent = true, true
	if list := order("m", servers[3].address, servers); len(list) != 3 || list[0] != servers[3].address || list[2] != servers[2].address {
		t.Errorf("list %v: want the home first, the silent one last, the drained one nowhere", list)
	}
}

func TestMovesEvenTheLoadOutAndComeToAnEnd(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		servers := names(rapid.IntRange(1, 5).Draw(t, "servers"))
		for i := range servers {
			servers[i].full = rapid.IntRange(0, 5).Draw(t, "full") == 0
		}
		var machines []placed
		for i := range rapid.IntRange(0, 30).Draw(t, "machines") {
			machines = append(machines, placed{
				machine: farshore.MachineID(fmt.Sprint(i)), home: servers[rapid.IntRange(0, len(servers)-1).Draw(t, "home")].address,
				rate: float64(rapid.IntRange(0, 50<<20).Draw(t, "rate")), settled: rapid.IntRange(0, 9).Draw(t, "settled") > 0,
			})
		}
		heaviest := func() (most float64) {
			for _, n := range loads(servers, machines) {
				most = max(most, n)
			}
			return most
		}
		moves := 0
		for ; ; moves++ {
			before := heaviest()
			m, ok := rebalance(servers, machines)
			if !ok {
				break
			}
			i := slices.IndexFunc(machines, func(p placed) bool { return p.machine == m.machine })
			if !machines[i].settled {
				t.Fatalf("machine %d is moved and has not settled", i)
			}
			to := slices.IndexFunc(servers, func(s candidate) bool { return s.address == m.to })
			if servers[to].full {
				t.Fatalf("a machine is moved to server %d, whose cache is full", to)
			}
			machines[i].home = m.to
			if after := heaviest(); after > before {
				t.Fatalf("the load of the heaviest server went from %.0f to %.0f", before, after)
			}
			if moves > 10*len(machines) {
				t.Fatal("the moves do not come to an end")
			}
		}
	})
}

// heard has a process server report now.
func (b *board) heard(id farshore.Identity, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.at[id] = now
}

// uses has the machine's agent report that it is protected by a server.
func (b *board) uses(address string, sent uint64, now time.Time) {
	b.report(&farshorev1.AgentObserved{
		Machine: machine(), Phase: farshorev1.AgentPhase_AGENT_PHASE_PROTECTED, ProcessServer: address, SentBytes: sent,
	})
	b.heard(web, now)
}

func TestThePlacerFollowsServersThatComeMoveAreDrainedAndAreLost(t *testing.T) {
	const first, second, moved = "10.0.0.1:9443", "10.0.0.2:9443", "10.0.0.2:9555"
	b, now := site(), start
	b.enrolled = []farshore.Identity{web, hq1, west}
	_, err := do(t, b, activities.SetProtection, on())
	must(t, err)
	p := &Placer{Hub: b, Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return now }}
	look := func(what, using string, want ...string) {
		t.Helper()
		now = now.Add(10 * time.Second)
		b.uses(using, 1, now)
		must(t, p.Look(t.Context()))
		if got := b.desired[web].GetAgent().GetProcessServers(); !slices.Equal(got, want) {
			t.Errorf("%s: the machine shall use %v, want %v", what, got, want)
		}
	}
	hear := func(ids ...farshore.Identity) {
		for _, id := range ids {
			b.heard(id, now.Add(10*time.Second))
		}
	}
	hear(hq1)
	look("one server", first, first)
	version := b.desired[web].GetVersion().GetNumber()

	b.enrolled = append(b.enrolled, hq2)
	hear(hq1, hq2)
	look("a second one", first, first, second)
	if d := b.desired[hq2].GetProcessServer(); !slices.Equal(d.GetMachines(), []string{"web-01"}) || d.GetRpoSeconds()["web-01"] != 900 {
		t.Errorf("the second server was told %v", d)
	}
	must(t, SetServer(t.Context(), b, "hq-1", func(d *farshorev1.ProcessServerDesired) { d.Drain = true }))
	hear(hq1, hq2)
	look("the first is drained", first, second)
	must(t, SetServer(t.Context(), b, "hq-1", func(d *farshorev1.ProcessServerDesired) { d.Drain = false }))
	hear(hq1, hq2)
	look("and taken back", second, second, first)

	b.mu.Lock()
	b.observed[hq2].GetProcessServer().Address = moved
	b.mu.Unlock()
	hear(hq1, hq2)
	look("the second moves to another port", second, moved, first)

	now = now.Add(time.Minute)
	hear(hq1)
	look("the second is lost, the agent has gone by itself", first, first, moved)
	if n := b.desired[web].GetVersion().GetNumber(); n != version+5 {
		t.Errorf("the agent was told %d times, want 5", n-version)
	}
}

func TestOneMachineIsMovedAtATime(t *testing.T) {
	b, now := site(), start
	var agents []farshore.Identity
	for i := range 6 {
		agents = append(agents, farshore.Identity{Role: farshore.RoleAgent, Name: fmt.Sprint("m-", i)})
	}
	b.enrolled = append([]farshore.Identity{hq1, hq2}, agents...)
	for _, id := range agents {
		must(t, setAgent(t.Context(), b, farshore.MachineID(id.Name), func(d *farshorev1.AgentDesired) {
			d.Protect, d.ProcessServers = true, []string{"10.0.0.1:9443"}
		}))
	}
	p := &Placer{Hub: b, Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return now }}
	at := func(address string) (n int) {
		for _, id := range agents {
			if b.desired[id].GetAgent().GetProcessServers()[0] == address {
				n++
			}
		}
		return n
	}
	// settle has every agent use what it was told; only one that was moved last may lag.
	settle := func() {
		for _, id := range agents {
			b.mu.Lock()
			b.observed[id] = &farshorev1.SyncRequest{Observed: &farshorev1.SyncRequest_Agent{Agent: &farshorev1.AgentObserved{
				Phase: farshorev1.AgentPhase_AGENT_PHASE_PROTECTED, ProcessServer: b.desired[id].GetAgent().GetProcessServers()[0],
			}}}
			b.at[id] = now
			b.mu.Unlock()
		}
	}
	settle()
	for want := 1; want <= 3; want++ {
		for range 3 { // it stays at one move as long as that machine has not settled
			now = now.Add(time.Second)
			b.heard(hq1, now)
			b.heard(hq2, now)
			must(t, p.Look(t.Context()))
			if got := at("10.0.0.2:9443"); got != want {
				t.Fatalf("%d machines are at the second server, want %d", got, want)
			}
		}
		settle()
	}
	now = now.Add(time.Second)
	must(t, p.Look(t.Context()))
	if got := at("10.0.0.2:9443"); got != 3 {
		t.Errorf("%d machines are at the second server, want half", got)
	}
}
