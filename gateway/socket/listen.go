package socket

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"syscall"

	gnetsocket "github.com/panjf2000/gnet/v2/pkg/socket"
)

// A place is an address that is ours before anybody listens on it. Each event
// loop has a listener of its own there (SO_REUSEPORT), which two things need that
// gnet does not have: a port that all of them know, and a server that does not
// share its port with another one which somebody has started twice.
type place struct {
	fd   int // bound, and never listening
	addr *net.TCPAddr
}

// reserve takes an address. It is an error if somebody listens there, or if the
// address is not one of this machine.
func reserve(listen string) (p place, err error) {
	at, err := net.ResolveTCPAddr("tcp", listen)
	if err != nil {
		return p, err
	}
	sa, family := sockaddr(at)
	if p.fd, err = syscall.Socket(family, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0); err != nil {
		return p, os.NewSyscallError("socket", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, syscall.Close(p.fd))
		}
	}()
	if family == syscall.AF_INET6 && at.IP != nil { // As gnet has it: without a host it is both.
		if err := gnetsocket.SetIPv6Only(p.fd, 1); err != nil {
			return p, err
		}
	}
	if err := gnetsocket.SetReuseAddr(p.fd, 1); err != nil {
		return p, err
	}
	if err := syscall.Bind(p.fd, sa); err != nil {
		return p, os.NewSyscallError("bind", err)
	}
	// Only now: who binds with it is let in beside a listener that has it too.
	if err := gnetsocket.SetReuseport(p.fd, 1); err != nil {
		return p, err
	}
	p.addr, err = boundTo(p.fd)
	return p, err
}

// sockaddr is an address as the system wants it. Without a host it is IPv6's, which
// takes IPv4 too.
func sockaddr(a *net.TCPAddr) (sa syscall.Sockaddr, family int) {
	if v4 := a.IP.To4(); v4 != nil {
		return &syscall.SockaddrInet4{Port: a.Port, Addr: [4]byte(v4)}, syscall.AF_INET
	}
	v6 := &syscall.SockaddrInet6{Port: a.Port}
	copy(v6.Addr[:], a.IP)
	if i, err := net.InterfaceByName(a.Zone); err == nil {
		v6.ZoneId = uint32(i.Index)
	}
	return v6, syscall.AF_INET6
}

// boundTo asks the system which port it chose.
func boundTo(fd int) (*net.TCPAddr, error) {
	name, err := syscall.Getsockname(fd)
	if err != nil {
		return nil, os.NewSyscallError("getsockname", err)
	}
	switch name := name.(type) {
	case *syscall.SockaddrInet4:
		return net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.AddrFrom4(name.Addr), uint16(name.Port))), nil
	case *syscall.SockaddrInet6:
		return net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.AddrFrom16(name.Addr), uint16(name.Port))), nil
	}
	return nil, fmt.Errorf("a listener has the unknown address %v", name)
}

// reserve takes every address that the server is to listen on, and returns them
// as gnet wants them.
func (s *Server) reserve() (addrs []string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, listen := range slices.Concat(s.cfg.Listen, s.cfg.ListenTCP) {
		p, err := reserve(listen)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", listen, err)
		}
		s.places = append(s.places, p)
		s.addrs = append(s.addrs, p.addr)
		// The host as it was given, which says whether it is IPv4, IPv6 or both.
		host, _, err := net.SplitHostPort(listen)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", listen, err)
		}
		addrs = append(addrs, "tcp://"+net.JoinHostPort(host, fmt.Sprint(p.addr.Port)))
	}
	for _, addr := range s.addrs[len(s.cfg.Listen):] {
		s.streams[spotOf(addr)] = true
	}
	return addrs, nil
}

// spotOf is the address of a listener for comparing: gnet calls all addresses of
// the machine nothing, and the system calls them [::].
func spotOf(addr net.Addr) netip.AddrPort {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	spot := tcp.AddrPort()
	ip := spot.Addr().Unmap().WithZone("")
	if !ip.IsValid() {
		ip = netip.IPv6Unspecified()
	}
	return netip.AddrPortFrom(ip, spot.Port())
}

// giveUp closes what reserve holds: the loops listen by now, or never will.
func (s *Server) giveUp() {
	for _, p := range s.places {
		_ = syscall.Close(p.fd) // Nothing was written.
	}
	s.places = nil
}
