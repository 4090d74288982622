package collector

import (
	"github.com/prometheus/client_golang/prometheus"

	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/dataplane/hub"
)

// Message is the report as the hub takes it.
func (c *Collector) Message() *farshorev1.CollectorObserved {
	reports, faults := c.Observed()
	m := &farshorev1.CollectorObserved{}
	for _, r := range reports {
		one := &farshorev1.MachineCollected{
			Machine: string(r.Machine), Unix: r.Time.Unix(), Policy: r.Policy, Points: uint32(r.Points), Bases: uint32(r.Bases), Pins: uint32(r.Pins),
			Segments: uint64(r.Segments), Bytes: uint64(r.Bytes), Removed: uint64(r.Removed), RemovedBytes: uint64(r.RemovedBytes), Immutable: uint64(r.Immutable),
		}
		if !r.Oldest.IsZero() {
			one.OldestUnix = r.Oldest.Unix()
		}
		m.Machines = append(m.Machines, one)
	}
	for _, f := range faults {
		m.Faults = append(m.Faults, hub.FaultMessage(f))
	}
	return m
}

// metrics are the numbers of a collector, taken from what it reports.
type metrics struct {
	collector                                              *Collector
	points, bases, pins, oldest, bytes, removed, immutable *prometheus.Desc
	faults                                                 *prometheus.Desc
}

// Metrics gives the collector's numbers to Prometheus.
func (c *Collector) Metrics() prometheus.Collector {
	describe := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("farshore_collector_"+name, help, []string{"machine"}, nil)
	}
	return &metrics{
		collector: c,
		points:    describe("points", "Recovery points that stay."),
		bases:     describe("bases", "Bases that they are restored from."),
		pins:      describe("pins", "Pins on the machine's points."),
		oldest:    describe("oldest_point_timestamp_seconds", "Time of the oldest point that stays."),
		bytes:     describe("journal_bytes", "Bytes in the machine's journal."),
		removed:   describe("removed_bytes", "Bytes of the segments that the last pass removed."),
		immutable: describe("immutable", "Objects that an immutability policy kept in the last pass."),
		faults:    prometheus.NewDesc("farshore_collector_faults", "Machines with which the last pass could not finish.", nil, nil),
	}
}

// Describe implements prometheus.Collector.
func (m *metrics) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.points, m.bases, m.pins, m.oldest, m.bytes, m.removed, m.immutable, m.faults} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (m *metrics) Collect(to chan<- prometheus.Metric) {
	reports, faults := m.collector.Observed()
	for _, r := range reports {
		for _, v := range []struct {
			desc  *prometheus.Desc
			value float64
		}{
			{m.points, float64(r.Points)},
			{m.bases, float64(r.Bases)},
			{m.pins, float64(r.Pins)},
			{m.bytes, float64(r.Bytes)},
			{m.removed, float64(r.RemovedBytes)},
			{m.immutable, float64(r.Immutable)},
		} {
			to <- prometheus.MustNewConstMetric(v.desc, prometheus.GaugeValue, v.value, string(r.Machine))
		}
		if !r.Oldest.IsZero() {
			to <- prometheus.MustNewConstMetric(m.oldest, prometheus.GaugeValue, float64(r.Oldest.Unix()), string(r.Machine))
		}
	}
	to <- prometheus.MustNewConstMetric(m.faults, prometheus.GaugeValue, float64(len(faults)))
}
