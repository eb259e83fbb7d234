package session

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"kith/actors/entity"
)

// metrics are the counters of a Hub. No label says who somebody is or what he
// wrote.
type metrics struct {
	sessions   prometheus.Gauge
	opened     prometheus.Counter
	connected  prometheus.Counter
	closed     *prometheus.CounterVec
	badFrames  *prometheus.CounterVec
	limited    prometheus.Counter
	panics     prometheus.Counter
	framesIn   prometheus.Counter
	framesOut  prometheus.Counter
	bytesOut   prometheus.Counter
	unreadable prometheus.Counter

	publications    prometheus.Counter
	signals         prometheus.Counter
	signalsDropped  prometheus.Counter
	pages           prometheus.Counter
	nothingToRead   prometheus.Counter
	channelsDropped prometheus.Counter
	channelsBroken  prometheus.Counter
	watched         prometheus.Counter
	searches        prometheus.Counter
	presenceTold    prometheus.Counter
	presenceFailed  prometheus.Counter

	rpcs    *prometheus.CounterVec
	seconds map[*entity.Method]prometheus.Observer
	ok      map[*entity.Method]prometheus.Counter
}

// rpcBuckets are the bounds of the latency of an rpc, in seconds: from a query
// of a warm row to what a person no longer waits for.
var rpcBuckets = []float64{.0002, .0005, .001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 5}

func newMetrics(cfg Config) *metrics {
	r := cfg.Metrics
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Namespace: "kith", Subsystem: "gateway", Name: name, Help: help})
		r.MustRegister(c)
		return c
	}
	counters := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "kith", Subsystem: "gateway", Name: name, Help: help}, labels)
		r.MustRegister(c)
		return c
	}
	m := &metrics{
		sessions:   prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "kith", Subsystem: "gateway", Name: "sessions", Help: "Sessions that are open."}),
		opened:     counter("sessions_opened_total", "Connections whose session began: WebSockets after their handshake, raw TCP at once."),
		connected:  counter("sessions_connected_total", "Sessions whose connect command succeeded."),
		closed:     counters("sessions_closed_total", "Sessions that ended, by the reason.", "reason"),
		badFrames:  counters("bad_frames_total", "Messages that broke a rule of the protocol, by the rule.", "reason"),
		limited:    counter("requests_limited_total", "Commands refused because a user sent too many."),
		panics:     counter("panics_total", "Sessions that ended in a panic."),
		framesIn:   counter("frames_in_total", "Messages received from clients."),
		framesOut:  counter("frames_out_total", "Frames written to clients."),
		bytesOut:   counter("bytes_out_total", "Bytes written to clients."),
		unreadable: counter("unreadable_events_total", "Events that could not be encoded and were sent as Unreadable."),

		publications:    counter("publications_total", "Events queued for sessions, live or missed."),
		signals:         counter("signals_total", "Signals queued for sessions."),
		signalsDropped:  counter("signals_dropped_total", "Signals dropped because the queue of a session was half full."),
		pages:           counter("catchup_pages_total", "Pages of missed events read for sessions."),
		nothingToRead:   counter("catchup_nothing_total", "Events that a session heard of and could not read."),
		channelsDropped: counter("channels_dropped_total", "Channels unsubscribed because a session had too many."),
		channelsBroken:  counter("channels_broken_total", "Channels unsubscribed because their log could not be read."),

		watched:        counter("watches_total", "Channels that clients subscribed to themselves."),
		searches:       counter("holder_searches_total", "Searches of all sessions for those that have a conversation's channel."),
		presenceTold:   counter("presence_changes_total", "Times that the kernel was told that a user has come or gone."),
		presenceFailed: counter("presence_failures_total", "Times that the kernel could not be told; for lack of time it is told once more."),

		rpcs:    counters("rpc_total", "Results of rpcs, by method and code.", "method", "code"),
		seconds: map[*entity.Method]prometheus.Observer{},
		ok:      map[*entity.Method]prometheus.Counter{},
	}
	seconds := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: "kith", Subsystem: "gateway", Name: "rpc_seconds", Help: "Time from a command to its result, by method.",
		Buckets: rpcBuckets,
	}, []string{"method"})
	r.MustRegister(m.sessions, seconds)
	for _, method := range cfg.Registry.Methods() {
		m.seconds[method] = seconds.WithLabelValues(method.Name)
		m.ok[method] = m.rpcs.WithLabelValues(method.Name, "ok")
	}
	for _, d := range append(disconnects, gone) {
		m.closed.WithLabelValues(d.Name)
	}
	return m
}

// took notes how long a call took.
func (m *metrics) took(method *entity.Method, d time.Duration) {
	m.seconds[method].Observe(d.Seconds())
}

// answered counts a result. A method that does not exist is not named: clients
// could fill the memory with names.
func (m *metrics) answered(method *entity.Method, err *entity.Error) {
	switch {
	case method == nil:
		m.rpcs.WithLabelValues("unknown", err.Code.String()).Inc()
	case err == nil:
		m.ok[method].Inc()
	default:
		m.rpcs.WithLabelValues(method.Name, err.Code.String()).Inc()
	}
}
