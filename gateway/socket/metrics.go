package socket

import "github.com/prometheus/client_golang/prometheus"

// metrics are the counters of a Server.
type metrics struct {
	connections prometheus.Gauge
	accepted    prometheus.Counter
	overCap     *prometheus.CounterVec // by what there was too much of
	bytesIn     prometheus.Counter
	refused     *prometheus.CounterVec // handshakes, by status
	timedOut    prometheus.Counter
	writes      prometheus.Counter
	stalled     prometheus.Counter
}

func newMetrics(r prometheus.Registerer) *metrics {
	options := func(name, help string) prometheus.CounterOpts {
		return prometheus.CounterOpts{Namespace: "kith", Subsystem: "gateway", Name: name, Help: help}
	}
	m := &metrics{
		connections: prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "kith", Subsystem: "gateway", Name: "connections", Help: "Connections that are open."}),
		accepted:    prometheus.NewCounter(options("connections_total", "Connections that were taken.")),
		overCap:     prometheus.NewCounterVec(options("connections_refused_total", "Connections closed at once because there were too many (in all, of one address, of strangers), or because the server is draining."), []string{"reason"}),
		bytesIn:     prometheus.NewCounter(options("bytes_in_total", "Bytes received from clients.")),
		refused:     prometheus.NewCounterVec(options("handshakes_refused_total", "Requests that did not become a WebSocket, by status."), []string{"status"}),
		timedOut:    prometheus.NewCounter(options("handshakes_timed_out_total", "Connections that did not become a WebSocket in time.")),
		writes:      prometheus.NewCounter(options("writes_total", "Writes to sockets; frames per write say how well they are batched.")),
		stalled:     prometheus.NewCounter(options("writes_stalled_total", "Writes of which the socket did not take all.")),
	}
	r.MustRegister(m.connections, m.accepted, m.overCap, m.bytesIn, m.refused, m.timedOut, m.writes, m.stalled)
	return m
}
