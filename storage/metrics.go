package storage

import (
	"log/slog"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// metrics is what this package counts itself. Pebble's own numbers are read
// when somebody asks for them.
type metrics struct {
	commits          prometheus.Counter
	rows             prometheus.Histogram
	seconds          prometheus.Histogram
	stalls           prometheus.Counter
	stalled          prometheus.Gauge
	slow             prometheus.Counter
	lowSpace         prometheus.Counter
	backgroundErrors prometheus.Counter
	corruptions      prometheus.Counter
	misuses          prometheus.Counter
}

func newMetrics() *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "kith_storage_" + name, Help: help})
	}
	return &metrics{
		commits: counter("commits_total", "Groups committed durably."),
		rows: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "kith_storage_group_rows", Help: "Rows written by a group.",
			Buckets: prometheus.ExponentialBuckets(1, 2, 14), // 1 to 8192
		}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "kith_storage_commit_seconds", Help: "Time from a group's commit to its durability.",
			Buckets: prometheus.ExponentialBuckets(50e-6, 2, 18), // 50 µs to 6.5 s
		}),
		stalls: counter("write_stalls_total", "Times that writes waited for flushes or compactions."),
		stalled: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "kith_storage_write_stalled", Help: "1 while writes wait for flushes or compactions.",
		}),
		slow:             counter("disk_slow_total", "Disk operations that took 5 seconds or more."),
		lowSpace:         counter("low_space_events_total", "Times that Pebble reported little free space."),
		backgroundErrors: counter("background_errors_total", "Flushes and compactions that failed."),
		corruptions:      counter("corruptions_total", "Damaged blocks that were read."),
		misuses:          counter("misuses_total", "Times that Pebble suspected a misuse of its interface."),
	}
}

// committed counts a group.
func (m *metrics) committed(rows int, took time.Duration) {
	m.commits.Inc()
	m.rows.Observe(float64(rows))
	m.seconds.Observe(took.Seconds())
}

func (m *metrics) own() []prometheus.Collector {
	return []prometheus.Collector{
		m.commits, m.rows, m.seconds, m.stalls, m.stalled, m.slow, m.lowSpace,
		m.backgroundErrors, m.corruptions, m.misuses,
	}
}

// listener turns Pebble's events into counts, log lines and faults.
func (d *DB) listener() *pebble.EventListener {
	return &pebble.EventListener{
		BackgroundError: d.backgroundError,
		DataCorruption:  d.corruption,
		WriteStallBegin: func(info pebble.WriteStallBeginInfo) {
			d.sheet.stalls.Inc()
			d.sheet.stalled.Set(1)
			d.log.Warn("writes wait for the disk", "reason", info.Reason)
		},
		WriteStallEnd: func() { d.sheet.stalled.Set(0) },
		DiskSlow: func(info pebble.DiskSlowInfo) {
			// On the goroutine that watches the disk, which must not wait: count, and
			// let another write the line.
			d.sheet.slow.Inc()
			go d.log.Warn("the disk is slow", slog.Duration("for", info.Duration), slog.String("file", info.Path))
		},
		LowDiskSpace: func(info pebble.LowDiskSpaceInfo) {
			d.sheet.lowSpace.Inc()
			d.log.Warn("the disk is filling up", "free_bytes", info.AvailBytes, "below_percent", info.PercentThreshold)
		},
		PossibleAPIMisuse: func(info pebble.PossibleAPIMisuseInfo) {
			d.sheet.misuses.Inc()
			d.log.Error("a row was written in a way Pebble does not promise", "kind", info.Kind.String())
		},
	}
}

// reading is one of Pebble's numbers.
type reading struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	of   func(*pebble.Metrics) float64
}

func gauge(name, help string, of func(*pebble.Metrics) float64) reading {
	return reading{prometheus.NewDesc("kith_storage_"+name, help, nil, nil), prometheus.GaugeValue, of}
}

func count(name, help string, of func(*pebble.Metrics) float64) reading {
	return reading{prometheus.NewDesc("kith_storage_"+name, help, nil, nil), prometheus.CounterValue, of}
}

var readings = []reading{
	count("flushes_total", "Memtables flushed.", func(m *pebble.Metrics) float64 { return float64(m.Flush.Count) }),
	count("compactions_total", "Compactions done.", func(m *pebble.Metrics) float64 { return float64(m.Compact.Count) }),
	count("compaction_seconds_total", "Time spent in compactions.", func(m *pebble.Metrics) float64 { return m.Compact.Duration.Seconds() }),
	count("wal_written_bytes_total", "Bytes written to the log.", func(m *pebble.Metrics) float64 { return float64(m.WAL.BytesWritten) }),
	count("cache_hits_total", "Blocks found in the cache.", func(m *pebble.Metrics) float64 { return float64(m.BlockCache.Hits) }),
	count("cache_misses_total", "Blocks read from files.", func(m *pebble.Metrics) float64 { return float64(m.BlockCache.Misses) }),
	gauge("cache_bytes", "Memory that the block cache holds.", func(m *pebble.Metrics) float64 { return float64(m.BlockCache.Size) }),
	gauge("memtable_bytes", "Memory that the memtables hold.", func(m *pebble.Metrics) float64 { return float64(m.MemTable.Size + m.MemTable.ZombieSize) }),
	gauge("compaction_debt_bytes", "Bytes to compact until the tree has its shape.", func(m *pebble.Metrics) float64 { return float64(m.Compact.EstimatedDebt) }),
	gauge("read_amplification", "Tables that a lookup may touch.", func(m *pebble.Metrics) float64 { return float64(m.ReadAmp()) }),
	gauge("tombstones", "Deletions not compacted away yet.", func(m *pebble.Metrics) float64 { return float64(m.Keys.TombstoneCount) }),
	gauge("snapshots", "Snapshots open, one of them the anchor.", func(m *pebble.Metrics) float64 { return float64(m.Snapshots.Count) }),
	gauge("disk_bytes", "Disk space that the store takes.", func(m *pebble.Metrics) float64 { return float64(m.DiskSpaceUsage()) }),
}

var (
	fsyncDesc = prometheus.NewDesc("kith_storage_wal_fsync_seconds", "Time of each fsync of the log.", nil, nil)
	freeDesc  = prometheus.NewDesc("kith_storage_free_bytes", "Free space of the disk.", nil, nil)
	lowDesc   = prometheus.NewDesc("kith_storage_low", "1 while less is free than the floor.", nil, nil)
)

// Collector gives the store's metrics, all named kith_storage_*.
func (d *DB) Collector() prometheus.Collector { return collector{d} }

type collector struct{ d *DB }

// Describe implements prometheus.Collector.
func (c collector) Describe(to chan<- *prometheus.Desc) {
	for _, m := range c.d.sheet.own() {
		m.Describe(to)
	}
	for _, r := range readings {
		to <- r.desc
	}
	to <- fsyncDesc
	to <- freeDesc
	to <- lowDesc
}

// Collect implements prometheus.Collector. Of a store that is closed it gives
// only what was counted here.
func (c collector) Collect(to chan<- prometheus.Metric) {
	for _, m := range c.d.sheet.own() {
		m.Collect(to)
	}
	m := c.d.pebbleMetrics()
	if m == nil {
		return
	}
	for _, r := range readings {
		to <- prometheus.MustNewConstMetric(r.desc, r.kind, r.of(m))
	}
	to <- fsyncs(m.LogWriter.FsyncLatency)
	to <- prometheus.MustNewConstMetric(freeDesc, prometheus.GaugeValue, float64(c.d.freeBytes.Load()))
	low := 0.0
	if c.d.Low() {
		low = 1
	}
	to <- prometheus.MustNewConstMetric(lowDesc, prometheus.GaugeValue, low)
}

// pebbleMetrics reads Pebble's numbers; nil once the store is closed.
func (d *DB) pebbleMetrics() *pebble.Metrics {
	d.scrape.Lock()
	defer d.scrape.Unlock()
	d.viewMu.Lock()
	open := d.view != nil
	d.viewMu.Unlock()
	if !open {
		return nil
	}
	return d.db.Metrics()
}

// fsyncs gives Pebble's histogram, which has no name of its own, ours.
func fsyncs(h prometheus.Histogram) prometheus.Metric {
	var m dto.Metric
	if err := h.Write(&m); err != nil {
		return prometheus.NewInvalidMetric(fsyncDesc, err)
	}
	buckets := make(map[float64]uint64, len(m.GetHistogram().GetBucket()))
	for _, b := range m.GetHistogram().GetBucket() {
		buckets[b.GetUpperBound()] = b.GetCumulativeCount()
	}
	return prometheus.MustNewConstHistogram(fsyncDesc, m.GetHistogram().GetSampleCount(), m.GetHistogram().GetSampleSum(), buckets)
}
