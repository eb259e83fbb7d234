package outbound

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// An outcome is how an attempt ended, as metrics count it.
type outcome string

// The outcomes. The first three end a task, the others have it tried again.
const (
	delivered    outcome = "delivered"    // 2xx
	vanished     outcome = "vanished"     // the log does not have the event any more
	unconfigured outcome = "unconfigured" // the tenant has no webhook any more

	redirected  outcome = "redirected"  // 3xx, which is not followed
	refused     outcome = "refused"     // 4xx
	gone        outcome = "gone"        // 410: the endpoint says that it wants no more
	broken      outcome = "broken"      // 5xx, or no status at all
	late        outcome = "late"        // no answer in time
	notPublic   outcome = "not_public"  // the name leads to an address that is not public
	untrusted   outcome = "untrusted"   // its certificate is not valid
	unreachable outcome = "unreachable" // no connection, or it broke
	unread      outcome = "unread"      // the event could not be read from the log
	interrupted outcome = "interrupted" // the server went down
	held        outcome = "held"        // the endpoint has failed so often that it was not tried
	crowded     outcome = "crowded"     // too many tasks of the tenant waited
)

// seconds are the bounds of the histogram: from a neighbour to attemptTimeout.
var seconds = []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}

// metrics is what a Worker counts. Tenants are as many as are configured.
type metrics struct {
	attempts *prometheus.CounterVec
	took     prometheus.Histogram
	inFlight prometheus.Gauge
	waiting  prometheus.Gauge
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "kith_webhook_attempts_total", Help: "Attempts to deliver an event to a tenant's webhook, by how they ended.",
		}, []string{"tenant", "outcome"}),
		took: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "kith_webhook_attempt_seconds", Buckets: seconds, Help: "Time that an attempt took.",
		}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "kith_webhook_in_flight", Help: "Attempts that are under way.",
		}),
		waiting: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "kith_webhook_waiting", Help: "Tasks that wait for their turn; those that wait to be tried again are in their rows.",
		}),
	}
	return m, errors.Join(r.Register(m.attempts), r.Register(m.took), r.Register(m.inFlight), r.Register(m.waiting))
}
