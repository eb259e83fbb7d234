package client

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/centrifugal/protocol"

	"kith/actors/pb"
)

// patience is how long a test waits for what must happen.
const patience = 20 * time.Second

func patient(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// server is a server that does what a test wants with its only connection, and then
// waits for the client to hang up.
func server(t *testing.T, do func(net.Conn)) (url string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := ln.Accept()
		if err != nil {
			return // The test is over.
		}
		_ = conn.SetDeadline(time.Now().Add(patience)) // It cannot fail on an open connection.
		do(conn)
		_, _ = io.Copy(io.Discard, conn) // However the client hangs up.
		_ = conn.Close()                 // Nothing is left to lose.
	}()
	t.Cleanup(func() {
		_ = ln.Close() // Nobody else connects.
		<-done
	})
	return "tcp://" + ln.Addr().String()
}

// replies are replies as a server sends them.
func replies(t *testing.T, all ...*protocol.Reply) (b []byte) {
	t.Helper()
	for _, r := range all {
		body, err := r.MarshalVT()
		if err != nil {
			t.Fatal(err)
		}
		b = append(binary.AppendUvarint(b, uint64(len(body))), body...)
	}
	return b
}

func welcome() *protocol.Reply {
	return &protocol.Reply{Id: 1, Connect: &protocol.ConnectResult{Ping: 25, Pong: true}}
}

// command reads a command.
func command(t *testing.T, conn net.Conn) *protocol.Command {
	one := make([]byte, 1)
	var head []byte
	for len(head) == 0 || one[0] >= 0x80 {
		if _, err := io.ReadFull(conn, one); err != nil {
			t.Error(err)
			return &protocol.Command{}
		}
		head = append(head, one...)
	}
	size, _ := binary.Uvarint(head)
	body, c := make([]byte, size), &protocol.Command{}
	if _, err := io.ReadFull(conn, body); err != nil {
		t.Error(err)
	}
	if err := c.UnmarshalVT(body); err != nil {
		t.Error(err)
	}
	return c
}

func send(t *testing.T, conn net.Conn, b []byte) {
	if _, err := conn.Write(b); err != nil {
		t.Error(err)
	}
}

func TestRepliesMayComeInPiecesAndOutOfOrder(t *testing.T) {
	big := bytes.Repeat([]byte{8}, 300<<10)
	url := server(t, func(conn net.Conn) {
		if c := command(t, conn); c.Connect.GetToken() != "ann" || c.Connect.GetName() != "kith" {
			t.Errorf("the first command is %v", c)
		}
		for _, b := range replies(t, welcome()) {
			send(t, conn, []byte{b})
		}
		first, second := command(t, conn), command(t, conn)
		result := func(c *protocol.Command) *protocol.Reply {
			return &protocol.Reply{Id: c.Id, Rpc: &protocol.RPCResult{Data: append([]byte(c.Rpc.Method), big...)}}
		}
		late := &protocol.Reply{Id: 77, Rpc: &protocol.RPCResult{}} // Nobody asked.
		send(t, conn, append([]byte{0}, replies(t, late, result(second), result(first))...))
		if b := make([]byte, 1); true {
			if _, err := io.ReadFull(conn, b); err != nil || b[0] != 0 {
				t.Errorf("a ping is answered with %x, %v", b, err)
			}
		}
	})
	c, err := Dial(patient(t), Config{URL: url, Token: "ann"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	answers := make(chan error, 2)
	for _, method := range []string{"A.A", "B.B"} {
		go func() {
			got, err := c.rpc(patient(t), method, nil)
			if err == nil && string(got) != method+string(big) {
				err = errors.New(method + " has another's reply")
			}
			answers <- err
		}()
	}
	for range 2 {
		if err := <-answers; err != nil {
			t.Error(err)
		}
	}
}

func TestAServerThatBreaksTheProtocolIsLeft(t *testing.T) {
	for name, bad := range map[string][]byte{
		"a frame beyond the limit": binary.AppendUvarint(nil, maxFrameBytes+1),
		"an overlong length":       {0x80, 0},
		"no protobuf":              {2, 0xff, 0xff},
		"another protocol":         []byte("HTTP/1.1 400 Bad Request\r\n\r\n" + strings.Repeat("x", 1000)),
		"the end":                  nil,
	} {
		t.Run(name, func(t *testing.T) {
			for _, before := range []bool{true, false} {
				over := make(chan uint32, 1)
				url := server(t, func(conn net.Conn) {
					command(t, conn)
					if !before {
						send(t, conn, replies(t, welcome()))
						command(t, conn)
					}
					send(t, conn, bad)
					if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
						t.Error(err)
					}
				})
				c, err := Dial(patient(t), Config{URL: url, Disconnected: func(code uint32, _ string) { over <- code }})
				if before {
					if err == nil {
						t.Fatal("it is a server")
					}
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				var refused *Error
				if err := c.Call(patient(t), "A.A", &pb.Event{}, &pb.Event{}); err == nil || errors.As(err, &refused) {
					t.Errorf("the call gave %v, want an error that leaves it open", err)
				}
				if code := <-over; code != 0 {
					t.Errorf("it is over with %d, which the server did not say", code)
				}
			}
		})
	}
}

func TestASilentServerIsNotWaitedForLongerThanAsked(t *testing.T) {
	connecting := make(chan struct{})
	url := server(t, func(conn net.Conn) {
		command(t, conn)
		close(connecting)
	})
	ctx, cancel := context.WithCancel(patient(t))
	go func() {
		<-connecting
		cancel()
	}()
	if _, err := Dial(ctx, Config{URL: url}); !errors.Is(err, context.Canceled) {
		t.Errorf("Dial = %v, want that it was cancelled", err)
	}
}
