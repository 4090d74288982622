package processserver

import (
	"cmp"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"farshore"
	"farshore/dataplane/pace"
	"farshore/fault"
)

// Observed is the state of a process server at one moment.
type Observed struct {
	Streams    []Stream // of every machine seen since the start, in the order of names
	CacheUsed  int64    // bytes
	CacheLimit int64
	Rejected   uint64 // connections that did not belong here
	Puts       pace.State
	Bandwidth  int64  // bytes that may be put in a second now; 0: there is no limit
	Listen     string // the address that agents are received on, as it was asked for
	Draining   bool
	Drained    bool // no session is open and the cache is empty
	Faults     []*fault.Fault
}

// Stream is the state of one machine's stream. The bytes are counted since the server's start.
type Stream struct {
	Machine   farshore.MachineID
	Connected bool
	Durable   farshore.Position
	Received  int64 // payload from the agent
	Cached    int64 // synced to the spool, before compression
	Sealed    int64 // compressed and encrypted
	Uploaded  int64 // put into the vault
}

// Observe gives the server's state.
func (s *Server) Observe() Observed {
	s.mu.Lock()
	machines := make([]*machine, 0, len(s.machines))
	for _, m := range s.machines {
		machines = append(machines, m)
	}
	s.mu.Unlock()
	slices.SortFunc(machines, func(a, b *machine) int { return cmp.Compare(a.id, b.id) })
	used, full := s.spool.state()
	o := Observed{CacheUsed: used, CacheLimit: s.config.CacheBytes, Rejected: s.accept.Rejected(), Puts: s.puts.state(), Bandwidth: s.config.Bandwidth.Rate(s.now())}
	o.Listen, o.Draining = s.address(), s.drains()
	o.Drained = o.Draining && used == 0 && !s.busy()
	for _, f := range []*fault.Fault{full, s.blamedPort()} {
		if f != nil {
			o.Faults = append(o.Faults, f)
		}
	}
	now := s.now()
	for _, m := range machines {
		o.Streams = append(o.Streams, m.state())
		o.Faults = append(o.Faults, m.faults(now)...)
	}
	return o
}

func (m *machine) state() Stream {
	m.mu.Lock()
	defer m.mu.Unlock()
	return Stream{
		Machine: m.id, Connected: m.connected, Durable: m.durable,
		Received: m.received.Load(), Cached: m.cached.Load(), Sealed: m.sealed.Load(), Uploaded: m.uploaded.Load(),
	}
}

// metrics gives the server's state to Prometheus.
type metrics struct {
	server *Server

	bytes, connected, cache, rejected, puts, busy, bandwidth *prometheus.Desc
}

// Metrics is the server's state as Prometheus metrics: farshore_stream_bytes_total by machine and stage (received, cached,
// sealed, uploaded), farshore_stream_connected, farshore_cache_bytes by kind (used, limit), farshore_rejected_total,
// farshore_puts by state (window, under_way, waiting), farshore_account_busy_total, farshore_bandwidth_bytes_per_second.
func (s *Server) Metrics() prometheus.Collector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("farshore_"+name, help, labels, nil)
	}
	return &metrics{
		server:    s,
		bytes:     desc("stream_bytes_total", "Bytes of a machine's stream that passed a stage.", "machine", "stage"),
		connected: desc("stream_connected", "1 if the machine has a session.", "machine"),
		cache:     desc("cache_bytes", "Bytes of sealed segments in the cache, and its limit.", "kind"),
		rejected:  desc("rejected_total", "Connections that did not belong here."),
		puts:      desc("puts", "Puts to the storage account: how many may be under way, are, and wait.", "state"),
		busy:      desc("account_busy_total", "How often the storage account was at its limits and is asked for half as much since."),
		bandwidth: desc("bandwidth_bytes_per_second", "What the schedule lets the line carry now; 0: there is no limit."),
	}
}

// Describe gives the descriptions of all metrics.
func (m *metrics) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.bytes, m.connected, m.cache, m.rejected, m.puts, m.busy, m.bandwidth} {
		out <- d
	}
}

// Collect gives the values of all metrics.
func (m *metrics) Collect(out chan<- prometheus.Metric) {
	o := m.server.Observe()
	for _, s := range o.Streams {
		for _, stage := range []struct {
			name  string
			bytes int64
		}{{"received", s.Received}, {"cached", s.Cached}, {"sealed", s.Sealed}, {"uploaded", s.Uploaded}} {
			out <- prometheus.MustNewConstMetric(m.bytes, prometheus.CounterValue, float64(stage.bytes), string(s.Machine), stage.name)
		}
		connected := 0.0
		if s.Connected {
			connected = 1
		}
		out <- prometheus.MustNewConstMetric(m.connected, prometheus.GaugeValue, connected, string(s.Machine))
	}
	out <- prometheus.MustNewConstMetric(m.cache, prometheus.GaugeValue, float64(o.CacheUsed), "used")
	out <- prometheus.MustNewConstMetric(m.cache, prometheus.GaugeValue, float64(o.CacheLimit), "limit")
	out <- prometheus.MustNewConstMetric(m.rejected, prometheus.CounterValue, float64(o.Rejected))
	for state, n := range map[string]int{"window": o.Puts.Window, "under_way": o.Puts.UnderWay, "waiting": o.Puts.Waiting} {
		out <- prometheus.MustNewConstMetric(m.puts, prometheus.GaugeValue, float64(n), state)
	}
	out <- prometheus.MustNewConstMetric(m.busy, prometheus.CounterValue, float64(o.Puts.Halved))
	out <- prometheus.MustNewConstMetric(m.bandwidth, prometheus.GaugeValue, float64(o.Bandwidth))
}
