package loadtest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"kith/loadtest/oracle"
)

// A Report is what a load came to. Counts are of the whole run, warm-up and end
// included; rate, times and what the server used are of the measured part. What
// was not measured is null.
type Report struct {
	Sent       uint64 `json:"sent"`
	Acked      uint64 `json:"acked"`
	Delivered  uint64 `json:"delivered"` // to everybody but who sent it
	Lost       uint64 `json:"lost"`
	Duplicated uint64 `json:"duplicated"`
	Reordered  uint64 `json:"reordered"`

	Rate     *float64 `json:"rate"` // acknowledged messages per second
	AckP50Ms *float64 `json:"ack_p50_ms"`
	AckP99Ms *float64 `json:"ack_p99_ms"`
	E2EP50Ms *float64 `json:"e2e_p50_ms"`
	E2EP99Ms *float64 `json:"e2e_p99_ms"`

	CPUPerMessage      *float64 `json:"server_cpu_us_per_message"`
	CPUPerDelivery     *float64 `json:"server_cpu_us_per_delivery"`
	RSS                *uint64  `json:"server_rss_bytes"`
	BytesPerConnection *float64 `json:"bytes_per_connection"`
	Fsyncs             *uint64  `json:"fsyncs"`

	Parameters Parameters `json:"parameters"`
	Versions   Versions   `json:"versions"`
	Echo       *Report    `json:"echo,omitempty"` // the same load on a bare echo server, if it was asked for

	kernelPerMessage float64 // of CPUPerMessage; 0: not known
	deliveries       float64 // per second
	unknown          uint64
	faults           []string
}

// Parameters is the load as it was asked for.
type Parameters struct {
	Load        string  `json:"load"`
	Users       int     `json:"users,omitempty"`
	Members     int     `json:"members,omitempty"`
	Senders     int     `json:"senders,omitempty"`
	Connections int     `json:"connections,omitempty"`
	InFlight    int     `json:"inflight,omitempty"`
	SizeBytes   int     `json:"size_bytes,omitempty"`
	DurationS   float64 `json:"duration_s,omitempty"`
	WarmupS     float64 `json:"warmup_s"`
}

// Versions is what was measured, and on what.
type Versions struct {
	Kith   string `json:"kith"`
	Commit string `json:"commit,omitempty"`
	Go     string `json:"go"`
	Kernel string `json:"kernel"`
	Cores  int    `json:"cores"`
}

// parameters says what a plan asks for.
func (p Plan) parameters() Parameters {
	out := Parameters{
		Load: p.Kind, Users: p.Users, Members: p.Members, Senders: p.Senders, Connections: p.Connections,
		WarmupS: p.Warmup.Seconds(),
	}
	if p.Connections == 0 {
		out.InFlight, out.SizeBytes, out.DurationS = p.InFlight, p.Size, p.Duration.Seconds()
	}
	return out
}

// String is the line that a load begins with.
func (p Plan) String() string {
	q := p.parameters()
	var parts []string
	add := func(name string, v int) {
		if v != 0 {
			parts = append(parts, fmt.Sprintf("%s=%d", name, v))
		}
	}
	add("users", q.Users)
	add("members", q.Members)
	add("senders", q.Senders)
	add("connections", q.Connections)
	add("inflight", q.InFlight)
	add("size", q.SizeBytes)
	if q.DurationS != 0 {
		parts = append(parts, fmt.Sprint("duration=", p.Duration))
	}
	parts = append(parts, fmt.Sprint("warmup=", p.Warmup))
	return fmt.Sprintf("%s [%s]", p.Kind, strings.Join(parts, " "))
}

// versions finds out what is measured on what.
func versions(ctx context.Context, s *Server) (v Versions, err error) {
	said, err := s.version(ctx)
	if err != nil {
		return v, err
	}
	v = Versions{Kith: said.Version, Commit: said.Commit, Go: said.Go, Cores: runtime.NumCPU()}
	if v.Go == "" {
		v.Go = runtime.Version()
	}
	if release, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil { // Only Linux has it.
		v.Kernel = strings.TrimSpace(string(release))
	}
	return v, nil
}

// newReport divides what happened between two marks.
func newReport(p Plan, before, after mark) *Report {
	r := &Report{Parameters: p.parameters()}
	if rss := after.usage.RSS; rss > 0 {
		r.RSS = &rss
	}
	seconds := after.at.Sub(before.at).Seconds()
	messages := float64(after.counts.Acked - before.counts.Acked)
	deliveries := float64(after.counts.Delivered - before.counts.Delivered)
	if p.Connections > 0 || seconds == 0 {
		return r
	}
	rate := messages / seconds
	r.Rate, r.deliveries = &rate, deliveries/seconds
	r.AckP50Ms, r.AckP99Ms = quantiles(after.times.Acked)
	r.E2EP50Ms, r.E2EP99Ms = quantiles(after.times.Delivered)
	if after.usage.CPU == 0 || messages == 0 || deliveries == 0 {
		return r
	}
	used := after.usage.CPU - before.usage.CPU
	perMessage, perDelivery := micros(used)/messages, micros(used)/deliveries
	r.CPUPerMessage, r.CPUPerDelivery = &perMessage, &perDelivery
	r.kernelPerMessage = micros(after.usage.System-before.usage.System) / messages
	if after.usage.Fsyncs > 0 {
		fsyncs := after.usage.Fsyncs - before.usage.Fsyncs
		r.Fsyncs = &fsyncs
	}
	return r
}

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }

// quantiles are the median and the 99th percentile in milliseconds.
func quantiles(h *hdrhistogram.Histogram) (p50, p99 *float64) {
	if h.TotalCount() == 0 {
		return nil, nil
	}
	at := func(q float64) *float64 {
		ms := float64(h.ValueAtQuantile(q)) / 1e3
		return &ms
	}
	return at(50), at(99)
}

// count adds what a conversation came to.
func (r *Report) count(c oracle.Counts) {
	r.Sent += c.Sent
	r.Acked += c.Acked
	r.Delivered += c.Delivered
	r.Lost += c.Lost
	r.Duplicated += c.Duplicated
	r.Reordered += c.Reordered
	r.unknown += c.Unknown
}

func (r *Report) counts() oracle.Counts {
	return oracle.Counts{Sent: r.Sent, Lost: r.Lost, Duplicated: r.Duplicated, Reordered: r.Reordered}
}

// Ratio is how many times the 99th percentile of the echo server's the server's
// is; 0 if it was not measured.
func (r *Report) Ratio() float64 {
	if r.Echo == nil || r.E2EP99Ms == nil || r.Echo.E2EP99Ms == nil || *r.Echo.E2EP99Ms == 0 {
		return 0
	}
	return *r.E2EP99Ms / *r.Echo.E2EP99Ms
}

// WriteJSON writes the report for a machine.
func (r *Report) WriteJSON(out io.Writer) error {
	e := json.NewEncoder(out)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// WriteTable writes the report for a person. colour paints what is wrong red.
func (r *Report) WriteTable(out io.Writer, colour bool) error {
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) {
		fmt.Fprintf(t, "  %s\t%s\n", name, fmt.Sprintf(format, args...))
	}
	wrong := func(n uint64) string {
		if n > 0 && colour {
			return fmt.Sprintf("\033[31m%d\033[0m", n)
		}
		return fmt.Sprint(n)
	}
	if r.Rate != nil {
		row("messages", "%d sent, %d acknowledged, %d unknown", r.Sent, r.Acked, r.unknown)
		row("deliveries", "%d; lost %s, duplicated %s, reordered %s", r.Delivered, wrong(r.Lost), wrong(r.Duplicated), wrong(r.Reordered))
		row("rate", "%.0f messages/s, %.0f deliveries/s", *r.Rate, r.deliveries)
	}
	if r.AckP50Ms != nil && r.E2EP50Ms != nil {
		row("acknowledged after", "%.2f ms (half), %.2f ms (99 %%)", *r.AckP50Ms, *r.AckP99Ms)
		row("delivered after", "%.2f ms (half), %.2f ms (99 %%)", *r.E2EP50Ms, *r.E2EP99Ms)
	}
	if r.CPUPerMessage != nil {
		kernel := ""
		if r.kernelPerMessage > 0 {
			kernel = fmt.Sprintf(" (%.2f of it in the kernel)", r.kernelPerMessage)
		}
		row("server CPU", "%.2f µs a message%s, %.2f µs a delivery", *r.CPUPerMessage, kernel, *r.CPUPerDelivery)
	}
	if r.Fsyncs != nil {
		row("fsyncs", "%d", *r.Fsyncs)
	}
	if r.RSS != nil {
		row("server memory", "%.1f MiB", float64(*r.RSS)/(1<<20))
	}
	if r.BytesPerConnection != nil {
		row("memory per connection", "%.0f bytes (%.2f KiB)", *r.BytesPerConnection, *r.BytesPerConnection/1024)
	}
	if ratio := r.Ratio(); ratio > 0 {
		row("bare echo", "%.2f ms (half), %.2f ms (99 %%); %.0f messages/s", *r.Echo.E2EP50Ms, *r.Echo.E2EP99Ms, *r.Echo.Rate)
		if r.Echo.CPUPerMessage != nil {
			row("bare echo's CPU", "%.2f µs a message", *r.Echo.CPUPerMessage)
		}
		row("times the echo's 99 %", "%.2f", ratio)
	}
	v := r.Versions
	row("versions", "kith %s %.12s, %s, kernel %s, %d cores", v.Kith, v.Commit, v.Go, v.Kernel, v.Cores)
	return t.Flush()
}
