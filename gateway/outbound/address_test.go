package outbound

import (
	"fmt"
	"net"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
)

func TestOnlyTheInternetIsPublic(t *testing.T) {
	cases := []struct {
		address string
		want    bool
	}{
		{"1.1.1.1", true}, {"8.8.8.8", true}, {"93.184.216.34", true}, {"100.63.255.255", true}, {"100.128.0.0", true},
		{"172.15.255.255", true}, {"172.32.0.0", true}, {"192.167.255.255", true}, {"223.255.255.255", true}, {"11.0.0.0", true},
		{"2606:4700:4700::1111", true}, {"2a00:1450:4001:80b::200e", true}, {"2001:4860:4860::8888", true}, {"2001:200::1", true},

		{"0.0.0.0", false}, {"0.1.2.3", false},
		{"127.0.0.1", false}, {"127.255.255.254", false},
		{"10.0.0.1", false}, {"10.255.255.255", false}, {"172.16.0.1", false}, {"172.31.255.255", false}, {"192.168.0.1", false},
		{"169.254.169.254", false}, {"169.254.0.1", false},
		{"100.64.0.1", false}, {"100.127.255.255", false},
		{"192.0.0.1", false}, {"192.0.2.1", false}, {"192.88.99.1", false}, {"198.18.0.1", false}, {"198.19.255.255", false},
		{"198.51.100.1", false}, {"203.0.113.1", false},
		{"224.0.0.1", false}, {"239.255.255.255", false}, {"240.0.0.1", false}, {"255.255.255.255", false},

		{"::", false}, {"::1", false}, {"::2", false},
		{"::ffff:127.0.0.1", false}, {"::ffff:10.0.0.1", false}, {"::ffff:8.8.8.8", false}, {"::ffff:0:8.8.8.8", false},
		{"::127.0.0.1", false}, {"::8.8.8.8", false},
		{"64:ff9b::7f00:1", false}, {"64:ff9b::8.8.8.8", false}, {"64:ff9b:1::a00:1", false},
		{"100::1", false}, {"fc00::1", false}, {"fd00:ec2::254", false}, {"fe80::1", false}, {"fe80::1%eth0", false}, {"fec0::1", false},
		{"ff02::1", false}, {"ff0e::1", false},
		{"2001::1", false}, {"2001:0:7f00:1::", false}, {"2001:10::1", false}, {"2001:20::1", false}, {"2001:db8::1", false},
		{"2002:7f00:1::", false}, {"2002:808:808::1", false}, {"3fff::1", false}, {"4000::1", false}, {"2606:4700::1%eth0", false},
	}
	for _, c := range cases {
		if got := public(netip.MustParseAddr(c.address)); got != c.want {
			t.Errorf("public(%s) = %v, want %v", c.address, got, c.want)
		}
	}
}

// Every way to write the address of this machine ends at the same check, and so
// does a name that stands for it.
func TestNoURLLeadsToANeighbour(t *testing.T) {
	connections := make(chan net.Conn, 100)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(status(200))
	s.Listener.Close()
	s.Listener = &countingListener{listener, connections}
	s.Start()
	t.Cleanup(s.Close)
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	names := []string{
		"127.0.0.1", "localhost", "localhost.", "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.0.0.1", "0177.0.0.1", "017700000001",
		"0", "0.0.0.0", "[::]", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]",
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			w := serving(t, map[string]Webhook{"acme": {URL: "http://example.com/", Secret: secret(firstKey), InsecureHTTP: true}})
			w.endpoints["acme"].url = fmt.Sprintf("http://%s:%s/?canary=1", name, port) // The configuration would refuse some.
			w.says(1, "hello")
			if err := w.perform(1, 1); err == nil {
				t.Error("it was delivered")
			} else if strings.Contains(err.Error(), "canary") {
				t.Errorf("the error has the URL: %v", err)
			}
			if len(connections) > 0 {
				t.Error("somebody connected")
			}
		})
	}
	w := serving(t, map[string]Webhook{"acme": local("http://localhost:" + port)})
	w.says(1, "hello")
	if err := w.perform(1, 1); err != nil || len(connections) != 1 {
		t.Errorf("to a private address that is allowed: %v, %d connections; want one", err, len(connections))
	}
}

// A countingListener notes every connection.
type countingListener struct {
	net.Listener
	accepted chan net.Conn
}

func (l *countingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.accepted <- c
	}
	return c, err
}
