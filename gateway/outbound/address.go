package outbound

import (
	"fmt"
	"net/netip"
	"slices"
	"syscall"
)

// closed lists the blocks of IPv4 that are not the internet: the registry of
// special addresses (RFC 6890 and what updates it), multicast and reserved.
var closed = prefixes(
	"0.0.0.0/8",       // this network; 0.0.0.0 is loopback to Linux
	"10.0.0.0/8",      // private
	"100.64.0.0/10",   // behind a carrier's NAT
	"127.0.0.0/8",     // loopback
	"169.254.0.0/16",  // link-local; where clouds tell machines their secrets
	"172.16.0.0/12",   // private
	"192.0.0.0/24",    // protocols
	"192.0.2.0/24",    // documentation
	"192.88.99.0/24",  // relays of 6to4
	"192.168.0.0/16",  // private
	"198.18.0.0/15",   // benchmarks
	"198.51.100.0/24", // documentation
	"203.0.113.0/24",  // documentation
	"224.0.0.0/4",     // multicast
	"240.0.0.0/4",     // reserved, and broadcast
)

// global is the part of IPv6 that is given out. All else is refused: loopback,
// unique local, link-local, multicast, and the blocks that stand for IPv4
// addresses: mapped (::ffff:0:0/96), compatible (::/96), NAT64 (64:ff9b::/96 and
// 64:ff9b:1::/48).
var global = netip.MustParsePrefix("2000::/3")

// closed6 lists the blocks inside global that are not the internet.
var closed6 = prefixes(
	"2001::/23",     // protocols; Teredo, which stands for an IPv4 address
	"2001:db8::/32", // documentation
	"2002::/16",     // 6to4, which stands for an IPv4 address
	"3fff::/20",     // documentation
)

func prefixes(all ...string) []netip.Prefix {
	var list []netip.Prefix
	for _, p := range all {
		list = append(list, netip.MustParsePrefix(p))
	}
	return list
}

// public reports whether an address is one of the internet.
func public(a netip.Addr) bool {
	in := func(p netip.Prefix) bool { return p.Contains(a) }
	if a.Is4() {
		return !slices.ContainsFunc(closed, in)
	}
	return a.Zone() == "" && global.Contains(a) && !slices.ContainsFunc(closed6, in)
}

// A notPublicError says that a name stands for an address that nobody outside
// could reach.
type notPublicError struct{ address netip.Addr }

func (e *notPublicError) Error() string {
	return fmt.Sprintf("the address %s is not a public one", e.address)
}

// onlyPublic is the Control of a net.Dialer. It sees the very address that is
// about to be dialled, so a name that resolves differently from one time to the
// next gains nothing.
func onlyPublic(_, address string, _ syscall.RawConn) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("read the address that is dialled: %w", err)
	}
	if !public(to.Addr()) {
		return &notPublicError{to.Addr()}
	}
	return nil
}
