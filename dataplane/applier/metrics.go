package applier

import "github.com/prometheus/client_golang/prometheus"

// metrics are the numbers of an applier, taken from what it reports.
type metrics struct {
	applier    *Applier
	applied    *prometheus.Desc
	replay     *prometheus.Desc
	seq        *prometheus.Desc
	standing   *prometheus.Desc
	jobs       *prometheus.Desc
	checkpoint *prometheus.Desc
	lag        *prometheus.Desc
	rate       *prometheus.Desc
}

// Metrics gives the applier's numbers to Prometheus.
func (a *Applier) Metrics() prometheus.Collector {
	describe := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("farshore_applier_"+name, help, labels, nil)
	}
	return &metrics{
		applier:    a,
		applied:    describe("applied_bytes_total", "Bytes written to replica disks.", "machine"),
		replay:     describe("replay_seconds", "Estimate of replaying what came since the newest checkpoint.", "machine"),
		seq:        describe("applied_seq", "Segment of its epoch that the replica stands at.", "machine"),
		checkpoint: describe("has_checkpoint", "1 if there is a checkpoint to clone.", "machine"),
		lag:        describe("lag_seconds", "How far the replica is behind its stream; 0: nothing is behind it.", "machine"),
		rate:       describe("bytes_per_second", "Bytes applied in a second, of late, while there was something to apply.", "machine"),
		standing:   describe("replicas_standing_still", "Replicas that a fault keeps from following their stream."),
		jobs:       describe("jobs", "Jobs that the configuration server wants and that are not done.", "state"),
	}
}

// Describe implements prometheus.Collector.
func (m *metrics) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.applied, m.replay, m.seq, m.checkpoint, m.lag, m.rate, m.standing, m.jobs} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (m *metrics) Collect(to chan<- prometheus.Metric) {
	o := m.applier.Observed()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	for _, r := range o.Replicas {
		to <- prometheus.MustNewConstMetric(m.applied, prometheus.CounterValue, float64(r.AppliedBytes), string(r.Machine))
		gauge(m.replay, r.Replay.Seconds(), string(r.Machine))
		gauge(m.seq, float64(r.Applied.Seq), string(r.Machine))
		gauge(m.lag, r.Lag(m.applier.deps.now()).Seconds(), string(r.Machine))
		gauge(m.rate, r.Rate, string(r.Machine))
		has := 0.0
		if r.Checkpoint.Epoch > 0 {
			has = 1
		}
		gauge(m.checkpoint, has, string(r.Machine))
	}
	running, failed := 0, 0
	for _, j := range o.Jobs {
		switch j.State {
		case Running:
			running++
		case Failed:
			failed++
		case Done:
		}
	}
	gauge(m.standing, float64(o.StandingStill))
	gauge(m.jobs, float64(running), "running")
	gauge(m.jobs, float64(failed), "failed")
}
