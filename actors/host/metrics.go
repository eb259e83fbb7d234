package host

import "github.com/prometheus/client_golang/prometheus"

// metrics are what a Core counts. None has a label that names a person.
type metrics struct {
	entities   prometheus.Gauge
	tells      prometheus.Gauge
	groups     prometheus.Histogram
	overloaded prometheus.Counter
	panics     prometheus.Counter
	bounds     prometheus.Counter
	parked     prometheus.Counter
	unreadable prometheus.Counter
}

func newMetrics() *metrics {
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: "kith_host_" + name, Help: help})
	}
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "kith_host_" + name, Help: help})
	}
	return &metrics{
		entities: gauge("entities", "Entities in memory."),
		tells:    gauge("tells_pending", "Tells that are not known to have been heard."),
		groups: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "kith_host_group_outcomes", Help: "Outcomes that became durable together.",
			Buckets: prometheus.ExponentialBuckets(1, 2, 14),
		}),
		overloaded: counter("overloaded_total", "Calls refused to keep promises."),
		panics:     counter("panics_total", "Steps and queries that panicked."),
		bounds:     counter("bounds_total", "Steps and queries that exceeded the policy's bounds."),
		unreadable: counter("unreadable_total", "Reads of a log that met a damaged row or a bug."),
		parked:     counter("dead_letters_total", "Tells parked among the dead letters."),
	}
}

// Register makes the core's metrics part of r.
func (c *Core) Register(r prometheus.Registerer) {
	m := c.metrics
	r.MustRegister(m.entities, m.tells, m.groups, m.overloaded, m.panics, m.bounds, m.parked, m.unreadable,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "kith_host_unreleased", Help: "Calls accepted and not yet released."},
			func() float64 { return float64(c.unreleased.Load()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "kith_host_clock_held", Help: "1: the clock has jumped and retention waits."},
			func() float64 {
				if c.watch.held.Load() {
					return 1
				}
				return 0
			}))
}
