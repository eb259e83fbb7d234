package httpapi

import (
	"errors"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// seconds are the bounds of the histogram: from a query in memory to CallTimeout.
var seconds = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}

// metrics is what the public door counts.
type metrics struct {
	requests   *prometheus.CounterVec
	latency    *prometheus.HistogramVec
	panics     prometheus.Counter
	conns      prometheus.Gauge
	turnedAway prometheus.Counter
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "kith_http_requests_total",
			Help: "Requests at the public HTTP door, by method of the registry (none: no such) and HTTP status.",
		}, []string{"method", "code"}),
		latency: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "kith_http_request_seconds", Buckets: seconds,
			Help: "Time from a request's last byte to its answer, by method.",
		}, []string{"method"}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "kith_http_panics_total", Help: "Requests at the public HTTP door that ended in a panic.",
		}),
		conns: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "kith_http_connections", Help: "Open connections at the public HTTP door.",
		}),
		turnedAway: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "kith_http_turned_away_total", Help: "Connections that the public HTTP door did not accept, for there were too many.",
		}),
	}
	return m, errors.Join(r.Register(m.requests), r.Register(m.latency), r.Register(m.panics), r.Register(m.conns), r.Register(m.turnedAway))
}

// answered counts an answer.
func (m *metrics) answered(r *route, status int, took time.Duration) {
	m.requests.WithLabelValues(r.name, strconv.Itoa(status)).Inc()
	r.latency.Observe(took.Seconds())
}
