package mastertarget

import "github.com/prometheus/client_golang/prometheus"

// metrics are the numbers of a master target, taken from what it reports.
type metrics struct {
	target   *Target
	written  *prometheus.Desc
	equal    *prometheus.Desc
	seq      *prometheus.Desc
	compared *prometheus.Desc
	standing *prometheus.Desc
}

// Metrics gives the master target's numbers to Prometheus.
func (t *Target) Metrics() prometheus.Collector {
	describe := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("farshore_mastertarget_"+name, help, labels, nil)
	}
	return &metrics{
		target:   t,
		written:  describe("written_bytes", "Bytes written to the disks of a machine since they were begun.", "machine"),
		equal:    describe("equal_bytes", "Bytes found on the disks of a machine and left alone.", "machine"),
		seq:      describe("applied_seq", "Segment of its epoch that the disks stand at.", "machine"),
		compared: describe("compared_bytes", "Bytes read back and compared.", "machine"),
		standing: describe("standing_still", "1 if a fault keeps the disks from going on.", "machine"),
	}
}

// Describe implements prometheus.Collector.
func (m *metrics) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.written, m.equal, m.seq, m.compared, m.standing} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (m *metrics) Collect(to chan<- prometheus.Metric) {
	for _, o := range m.target.machinesNow() {
		gauge := func(d *prometheus.Desc, v float64) {
			to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, string(o.Machine))
		}
		gauge(m.written, float64(o.Written))
		gauge(m.equal, float64(o.Equal))
		gauge(m.seq, float64(o.Applied.Seq))
		gauge(m.compared, float64(o.Proof.Compared))
		still := 0.0
		if o.Fault != nil {
			still = 1
		}
		gauge(m.standing, still)
	}
}
