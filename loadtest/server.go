package loadtest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"time"
)

// A Server is what is measured.
type Server struct {
	// Address is where people connect: host:port.
	Address string
	// URL is where history is read back: a WebSocket's.
	URL string
	// Internal is the URL of the operators' listener; empty: it has none, or we may
	// not ask.
	Internal string
	// PID is the server's process if it is on this machine and ours; 0: ask Internal.
	PID int
	// Token mints a token for a user.
	Token func(user string) (string, error)
	// Restart ends the server and starts it again on its store; nil: it is not ours.
	Restart func(context.Context) error
}

// Usage is what a server has used since it began.
type Usage struct {
	CPU    time.Duration
	System time.Duration // of it in the kernel; 0: not known
	RSS    uint64        // bytes of memory that it has now
	Fsyncs uint64        // of its log
}

// usage asks the server. With both it is what the kernel says of the process, and
// the server itself of its log.
func (s *Server) usage(ctx context.Context) (u Usage, err error) {
	if s.Internal != "" {
		if u, err = scrape(ctx, s.Internal+"/metrics"); err != nil {
			return u, fmt.Errorf("ask the server what it has used: %w", err)
		}
	}
	if s.PID != 0 {
		fsyncs := u.Fsyncs
		if u, err = process(s.PID); err != nil {
			return u, fmt.Errorf("ask the kernel what the server has used: %w", err)
		}
		u.Fsyncs = fsyncs
	}
	return u, nil
}

const (
	// maxPageBytes bounds a page of the internal listener. 64 MiB: metrics have 50
	// KB, profiles some MB.
	maxPageBytes = 64 << 20
	// askTimeout bounds the reading of one, beyond what it takes to make it.
	askTimeout = 10 * time.Second
)

// profile has the server write down what it does for so long, and saves that.
func (s *Server) profile(ctx context.Context, file string, d time.Duration) error {
	if s.Internal == "" {
		return errors.New("only the internal listener of a server has profiles, and none is known")
	}
	what := "heap?gc=1"
	if d > 0 {
		what = fmt.Sprintf("profile?seconds=%d", int(min(d, maxProfile).Seconds()))
	}
	body, err := page(ctx, s.Internal+"/debug/pprof/"+what, d)
	if err != nil {
		return fmt.Errorf("take a profile: %w", err)
	}
	return os.WriteFile(file, body, 0o600)
}

// maxProfile is how long a CPU profile may take: the internal listener gives up
// after 30 s.
const maxProfile = 25 * time.Second

// page reads a page of the internal listener, which takes so long to make.
func page(ctx context.Context, url string, making time.Duration) (body []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, making+askTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers %s", url, resp.Status)
	}
	return io.ReadAll(io.LimitReader(resp.Body, maxPageBytes))
}

// The metrics that are read.
const (
	metricCPU    = "process_cpu_seconds_total"
	metricRSS    = "process_resident_memory_bytes"
	metricFsyncs = "kith_storage_wal_fsync_seconds_count"
)

// scrape reads a metrics page.
func scrape(ctx context.Context, url string) (u Usage, err error) {
	text, err := page(ctx, url, 0)
	if err != nil {
		return u, err
	}
	values := map[string]float64{metricCPU: -1, metricRSS: -1, metricFsyncs: -1}
	for line := range bytes.Lines(text) {
		name, value, _ := bytes.Cut(bytes.TrimSpace(line), []byte{' '})
		if _, wanted := values[string(name)]; wanted {
			if values[string(name)], err = strconv.ParseFloat(string(value), 64); err != nil {
				return u, fmt.Errorf("the metric %s of %s is %q, no number", name, url, value)
			}
		}
	}
	for name, v := range values {
		if v < 0 {
			return u, fmt.Errorf("%s has no metric %s: it is not the internal listener of a Kith server", url, name)
		}
	}
	return Usage{
		CPU: time.Duration(values[metricCPU] * float64(time.Second)),
		RSS: uint64(values[metricRSS]), Fsyncs: uint64(values[metricFsyncs]),
	}, nil
}

// clockTick is the unit of /proc/*/stat: USER_HZ, which is 100 everywhere.
const clockTick = 10 * time.Millisecond

// process reads what the kernel counts of a process.
func process(pid int) (u Usage, err error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return u, err
	}
	// The second field is a name in brackets; utime, stime and rss are the 14th, the
	// 15th and the 24th.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	const utime, stime, rss = 14 - 3, 15 - 3, 24 - 3
	var n [rss + 1]int64
	for _, i := range []int{utime, stime, rss} {
		if len(fields) <= i {
			return u, fmt.Errorf("/proc/%d/stat has only %d fields", pid, len(fields))
		}
		if n[i], err = strconv.ParseInt(string(fields[i]), 10, 64); err != nil {
			return u, err
		}
	}
	return Usage{
		CPU: time.Duration(n[utime]+n[stime]) * clockTick, System: time.Duration(n[stime]) * clockTick,
		RSS: uint64(n[rss]) * uint64(os.Getpagesize()),
	}, nil
}

// version is what the server says of itself.
func (s *Server) version(ctx context.Context) (v struct{ Version, Go, Commit string }, err error) {
	if s.Internal == "" {
		return v, nil
	}
	text, err := page(ctx, s.Internal+"/version", 0)
	if err == nil {
		err = json.Unmarshal(text, &v)
	}
	if err != nil {
		return v, fmt.Errorf("ask the server for its version: %w", err)
	}
	return v, nil
}
