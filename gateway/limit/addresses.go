package limit

import (
	"net"
	"net/netip"
	"sync"
)

// Addresses counts the connections of each address, so that one cannot take the
// places of all. Safe for concurrent use.
type Addresses struct {
	most int // connections of one address

	mu   sync.Mutex // guards what is below
	open map[netip.Prefix]int
}

// NewAddresses returns Addresses that have at most so many connections each.
func NewAddresses(most int) *Addresses {
	return &Addresses{most: most, open: map[netip.Prefix]int{}}
}

// Take counts a connection of an address, if it may have one more. What has no
// address always may.
func (a *Addresses) Take(p netip.Prefix) bool {
	if !p.IsValid() {
		return true
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.open[p] >= a.most {
		return false
	}
	a.open[p]++
	return true
}

// Release forgets a connection that Take counted.
func (a *Addresses) Release(p netip.Prefix) {
	if !p.IsValid() {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.open[p]--; a.open[p] <= 0 {
		delete(a.open, p)
	}
}

// AddressOf is what a peer's connections are counted by: an IPv4 address, or an
// IPv6 network of 64 bits, which is what one customer has. The zero Prefix: it
// has no IP address.
func AddressOf(peer net.Addr) netip.Prefix {
	tcp, ok := peer.(*net.TCPAddr)
	if !ok {
		return netip.Prefix{}
	}
	ip := tcp.AddrPort().Addr().Unmap().WithZone("")
	bits := ip.BitLen()
	if ip.Is6() {
		bits = 64
	}
	return netip.PrefixFrom(ip, bits).Masked()
}
