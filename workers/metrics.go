package workers

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.temporal.io/sdk/client"
)

// Metrics gathers the Temporal SDK's own metrics for Prometheus. It is an unchecked collector: the SDK decides at run time
// which metrics there are and which labels they carry.
type Metrics struct {
	mu     sync.Mutex
	series map[string]*series
}

// series is one metric with one set of labels.
type series struct {
	desc   *prometheus.Desc
	kind   prometheus.ValueType
	timer  bool
	labels []string // values, in the order of the description
	value  float64  // of counters and gauges; seconds of timers
	count  uint64   // of timers
}

// NewMetrics makes an empty collection; register it with Prometheus and pass its handler to the client.
func NewMetrics() *Metrics { return &Metrics{series: map[string]*series{}} }

// Handler is what the SDK writes to.
func (m *Metrics) Handler() client.MetricsHandler { return scope{metrics: m} }

// Describe describes nothing: see [Metrics].
func (m *Metrics) Describe(chan<- *prometheus.Desc) {}

// Collect gives every metric as it stands.
func (m *Metrics) Collect(out chan<- prometheus.Metric) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.series {
		if s.timer {
			out <- prometheus.MustNewConstSummary(s.desc, s.count, s.value, nil, s.labels...)
			continue
		}
		out <- prometheus.MustNewConstMetric(s.desc, s.kind, s.value, s.labels...)
	}
}

// change finds or makes the series and changes it.
func (m *Metrics) change(name string, tags map[string]string, timer bool, kind prometheus.ValueType, change func(*series)) {
	keys := slices.Sorted(maps.Keys(tags))
	values := make([]string, 0, len(keys))
	id := name
	for _, k := range keys {
		values = append(values, tags[k])
		id += "\x00" + k + "\x00" + tags[k]
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.series[id]
	if s == nil {
		if timer {
			name += "_seconds"
		}
		labels := make([]string, 0, len(keys))
		for _, k := range keys {
			labels = append(labels, label(k))
		}
		s = &series{desc: prometheus.NewDesc(label(name), "of the Temporal SDK", labels, nil), kind: kind, timer: timer, labels: values}
		m.series[id] = s
	}
	change(s)
}

// label makes a name that Prometheus takes.
func label(name string) string {
	return strings.Map(func(r rune) rune {
		if r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return '_'
	}, name)
}

// scope is a handler with tags.
type scope struct {
	metrics *Metrics
	tags    map[string]string
}

// WithTags gives a handler with more tags.
func (s scope) WithTags(tags map[string]string) client.MetricsHandler {
	all := maps.Clone(s.tags)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, tags)
	return scope{s.metrics, all}
}

// Counter gives a counter.
func (s scope) Counter(name string) client.MetricsCounter { return counter{s, name} }

// Gauge gives a gauge.
func (s scope) Gauge(name string) client.MetricsGauge { return gauge{s, name} }

// Timer gives a timer, as a summary of seconds.
func (s scope) Timer(name string) client.MetricsTimer { return timer{s, name} }

type counter struct {
	scope
	name string
}

// Inc adds to the counter.
func (c counter) Inc(by int64) {
	c.metrics.change(c.name, c.tags, false, prometheus.CounterValue, func(s *series) { s.value += float64(by) })
}

type gauge struct {
	scope
	name string
}

// Update sets the gauge.
func (g gauge) Update(to float64) {
	g.metrics.change(g.name, g.tags, false, prometheus.GaugeValue, func(s *series) { s.value = to })
}

type timer struct {
	scope
	name string
}

// Record adds one duration.
func (t timer) Record(d time.Duration) {
	t.metrics.change(t.name, t.tags, true, prometheus.UntypedValue, func(s *series) {
		s.value += d.Seconds()
		s.count++
	})
}
