package storage

import (
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
)

func TestMetricsAreNamedAsTheyShouldBeAndCount(t *testing.T) {
	fs := vfs.NewMem()
	fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 5 << 30, TotalBytes: 10 << 30})
	d := mustOpen(t, small(fs))
	mustCommit(t, d, row("a", "1"), row("b", "2"), row("a", "3"))
	mustCommit(t, d, gone("a"))

	problems, err := promlint.NewWithMetricFamilies(gather(t, d)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	got := values(t, d)
	for name, want := range map[string]float64{
		"kith_storage_commits_total":           2,
		"kith_storage_group_rows":              2, // observations
		"kith_storage_commit_seconds":          2,
		"kith_storage_free_bytes":              5 << 30,
		"kith_storage_low":                     0,
		"kith_storage_corruptions_total":       0,
		"kith_storage_background_errors_total": 0,
	} {
		if v, ok := got[name]; !ok || v != want {
			t.Errorf("%s = %v (there: %v), want %v", name, v, ok, want)
		}
	}
	for _, name := range []string{"kith_storage_wal_fsync_seconds", "kith_storage_disk_bytes", "kith_storage_snapshots"} {
		if got[name] <= 0 {
			t.Errorf("%s = %v, want more than 0", name, got[name])
		}
	}
	mustClose(t, d)
	if got := values(t, d); got["kith_storage_commits_total"] != 2 || got["kith_storage_disk_bytes"] != 0 {
		t.Errorf("metrics of a closed store = %v, want only what was counted", got)
	}
}

func gather(t *testing.T, d *DB) []*dto.MetricFamily {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(d.Collector())
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	return families
}

// values reads all metrics; of a histogram the number of observations.
func values(t *testing.T, d *DB) map[string]float64 {
	t.Helper()
	got := map[string]float64{}
	for _, f := range gather(t, d) {
		if !strings.HasPrefix(f.GetName(), "kith_storage_") {
			t.Errorf("a metric is named %s", f.GetName())
		}
		m := f.GetMetric()[0]
		got[f.GetName()] = m.GetGauge().GetValue() + m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
	}
	return got
}
