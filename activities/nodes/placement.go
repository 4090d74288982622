package nodes

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"slices"

	"farshore"
)

// A placement says which process server each machine shall use. It is decided here, of what the nodes reported, and carried
// out by the [Placer].

// candidate is a process server as machines are placed on it.
type candidate struct {
	name     string
	address  string // that agents dial
	silent   bool   // it has not been heard of
	drains   bool   // it lets its machines go
	full     bool   // its cache is: nothing is moved to it
	reserved bool   // it is there for its guests alone
	guests   []string
}

func (c candidate) usable() bool { return !c.silent && !c.drains }

// open reports whether machines may be placed on it by their load.
func (c candidate) open() bool { return c.usable() && !c.reserved }

// hosts reports whether a machine shall use it before all others.
func (c candidate) hosts(m farshore.MachineID) bool { return slices.Contains(c.guests, string(m)) }

// takes reports whether a machine may use it at all.
func (c candidate) takes(m farshore.MachineID) bool { return !c.reserved || c.hosts(m) }

// placed is a machine and where it is.
type placed struct {
	machine farshore.MachineID
	told    []string // the addresses that its agent was told last
	home    string   // address of the server that it prefers now; "": none
	using   string   // address of the server that its agent reported to use; "": none
	rate    float64  // bytes that it sends in a second, of late
	settled bool     // its agent uses its home, copies nothing, and was heard of lately
}

// machineLoad is what a machine counts for besides what it sends: sessions cost something too.
const machineLoad = 64 << 10

func (p placed) load() float64 { return machineLoad + p.rate }

// order gives the addresses of the servers that a machine may use, its home first, those that are silent last. The others
// come in an order of the machine's own, so that the machines of a server that is lost spread over all that are left.
func order(m farshore.MachineID, home string, servers []candidate) []string {
	type ranked struct {
		candidate
		rank uint64
	}
	var all []ranked
	for _, s := range servers {
		if s.drains || !s.takes(m) {
			continue
		}
		h := sha256.Sum256([]byte(string(m) + "\x00" + s.name))
		all = append(all, ranked{s, binary.BigEndian.Uint64(h[:])})
	}
	slices.SortFunc(all, func(a, b ranked) int {
		return cmp.Or(
			-compareBool(a.address == home, b.address == home), compareBool(a.silent, b.silent), cmp.Compare(a.rank, b.rank), cmp.Compare(a.name, b.name),
		)
	})
	var addresses []string
	for _, s := range all {
		addresses = append(addresses, s.address)
	}
	return addresses
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// loads gives what each open server carries, by address.
func loads(servers []candidate, machines []placed) map[string]float64 {
	all := map[string]float64{}
	for _, s := range servers {
		if s.open() {
			all[s.address] = 0
		}
	}
	for _, p := range machines {
		if _, ok := all[p.home]; ok {
			all[p.home] += p.load()
		}
	}
	return all
}

// rehome gives a home to machines that have none, or whose home lets them go or is lost. A machine stays where its agent has
// gone by itself. A home that is silent here but used there is not lost: only its way to the configuration server is. A guest
// goes to its host as long as that is heard of, wherever its agent has gone.
func rehome(servers []candidate, machines []placed) {
	at := map[string]candidate{}
	for _, s := range servers {
		at[s.address] = s
	}
	carried := loads(servers, machines)
	for i := range machines {
		p := &machines[i]
		if host := slices.IndexFunc(servers, func(c candidate) bool { return c.usable() && c.hosts(p.machine) }); host >= 0 {
			p.home = servers[host].address
			continue
		}
		home, known := at[p.home]
		if known && home.takes(p.machine) && (home.usable() || !home.drains && p.using == p.home) {
			continue
		}
		to := p.using
		if using, ok := at[p.using]; !ok || !using.usable() || !using.takes(p.machine) {
			to = least(servers, carried)
		}
		if to != "" { // else it stays: a server may come back
			p.home = to
			carried[to] += p.load()
		}
	}
}

// least gives the address of the open server that carries least, "" if there is none.
func least(servers []candidate, carried map[string]float64) string {
	best := ""
	for _, s := range servers {
		if s.open() && (best == "" || carried[s.address] < carried[best]) {
			best = s.address
		}
	}
	return best
}

// gain is by how much a move must lower the load of the server that carries most: less is not worth a new session.
const gain = 0.1

// move is one machine and the server it shall go to.
type move struct {
	machine farshore.MachineID
	to      string // address
}

// rebalance gives the move that helps most, if one helps. Each lowers the load of the server that carries most, so moves come
// to an end.
func rebalance(servers []candidate, machines []placed) (move, bool) {
	carried := loads(servers, machines)
	var most, to string
	for _, s := range servers {
		if !s.open() {
			continue
		}
		if most == "" || carried[s.address] > carried[most] {
			most = s.address
		}
		if !s.full && (to == "" || carried[s.address] < carried[to]) {
			to = s.address
		}
	}
	if to == "" || to == most {
		return move{}, false
	}
	best, found := placed{}, false
	for _, p := range machines {
		after := max(carried[to]+p.load(), carried[most]-p.load())
		if p.home == most && p.settled && after <= carried[most]*(1-gain) && (!found || p.load() > best.load()) {
			best, found = p, true
		}
	}
	return move{best.machine, to}, found
}
