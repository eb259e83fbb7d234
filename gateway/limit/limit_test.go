package limit

import (
	"net"
	"testing"
	"time"

	"kith/actors/entity"
)

func TestARateIsKept(t *testing.T) {
	start := time.Unix(1_700_000_000, 0)
	p := &entity.Policy{RequestsPerMinute: 60, RequestBurst: 3} // One a second.
	steps := []struct {
		at   time.Duration
		user uint64
		wait time.Duration
	}{
		{0, 1, 0}, {0, 1, 0}, {0, 1, 0},
		{0, 1, time.Second},
		{0, 2, 0}, // Another has a bucket of his own.
		{400 * time.Millisecond, 1, 600 * time.Millisecond},
		{time.Second, 1, 0},
		{time.Second, 1, time.Second},
		{time.Hour, 1, 0}, {time.Hour, 1, 0}, {time.Hour, 1, 0}, // Never more than the burst.
		{time.Hour, 1, time.Second},
	}
	l := NewRequests()
	for i, s := range steps {
		if got := l.Take(User{1, s.user}, p, start.Add(s.at)); got != s.wait {
			t.Errorf("step %d: wait = %v, want %v", i, got, s.wait)
		}
	}
	for range 100 {
		if got := l.Take(User{1, 3}, &entity.Policy{}, start); got != 0 {
			t.Fatalf("wait = %v without a limit, want 0", got)
		}
	}
}

func TestRecentIsBoundedAndKeepsWhatIsUsed(t *testing.T) {
	r := NewRecent[int, int](100)
	r.Put(-1, 7)
	for i := range 10_000 {
		r.Put(i, i)
		if got := r.Get(-1); got != 7 {
			t.Fatalf("after %d: get(-1) = %d, want 7: it is used all the time", i, got)
		}
		if got := len(r.young) + len(r.old); got > 100 {
			t.Fatalf("after %d: %d keys, want at most 100", i, got)
		}
	}
	if got := r.Get(0); got != 0 {
		t.Errorf("get(0) = %d, want it forgotten", got)
	}
	if got := r.Get(9_999); got != 9_999 {
		t.Errorf("get(9999) = %d, want 9999", got)
	}
}

func TestWhatConnectionsAreCountedBy(t *testing.T) {
	cases := map[string]string{
		"192.0.2.7:80":             "192.0.2.7/32",
		"[::ffff:192.0.2.7]:80":    "192.0.2.7/32",
		"[2001:db8:1:2:3::4]:80":   "2001:db8:1:2::/64",
		"[2001:db8:1:2:ffff::]:80": "2001:db8:1:2::/64",
		"[fe80::1%lo]:80":          "fe80::/64",
	}
	for address, want := range cases {
		a, err := net.ResolveTCPAddr("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		if got := AddressOf(a).String(); got != want {
			t.Errorf("AddressOf(%s) = %s, want %s", address, got, want)
		}
	}
	if got := AddressOf(&net.UnixAddr{}); got.IsValid() {
		t.Errorf("AddressOf(unix) = %v, want none", got)
	}
}

func TestAnAddressHasItsPlacesAndNoMore(t *testing.T) {
	of := func(ip string) *net.TCPAddr { return &net.TCPAddr{IP: net.ParseIP(ip), Port: 1} }
	a := NewAddresses(2)
	for _, c := range []struct {
		ip   string
		want bool
	}{{"192.0.2.1", true}, {"192.0.2.1", true}, {"192.0.2.1", false}, {"192.0.2.2", true}, {"2001:db8::1", true}, {"2001:db8::2", true}, {"2001:db8::3", false}} {
		if got := a.Take(AddressOf(of(c.ip))); got != c.want {
			t.Errorf("Take(%s) = %v, want %v", c.ip, got, c.want)
		}
	}
	a.Release(AddressOf(of("192.0.2.1")))
	if !a.Take(AddressOf(of("192.0.2.1"))) {
		t.Error("a place that was released is not free")
	}
	for range 2 {
		a.Release(AddressOf(of("192.0.2.1")))
		a.Release(AddressOf(of("2001:db8::9")))
	}
	a.Release(AddressOf(of("192.0.2.2")))
	if len(a.open) != 0 {
		t.Errorf("%d addresses are remembered without a connection", len(a.open))
	}
	for range 5 {
		if !a.Take(AddressOf(&net.UnixAddr{})) {
			t.Error("what has no address was refused")
		}
	}
}
