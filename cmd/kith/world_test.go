package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// patience is how long a test waits for anything that ought to happen.
const patience = 30 * time.Second

// A served is a node that serves in this process, on a data folder.
type served struct {
	*node
	dir string
}

// serve starts a node, which ends with the test.
func serve(t *testing.T, dir string) *served {
	t.Helper()
	c, err := Load(ConfigFlags{DataDir: dir, Set: []string{
		"listen.ws=127.0.0.1:0", "listen.http=127.0.0.1:0", "listen.internal=127.0.0.1:0", "max_connections=200", "http.max_conns=200",
		"storage.min_free_bytes=0", "storage.cache_bytes=1MiB", "storage.mem_table_bytes=1MiB", "shutdown_timeout=5s",
		"tenants.demo.profile=bench",
	}}, nil)
	must(t, err)
	n, err := newNode(c, slog.New(slog.DiscardHandler), false)
	must(t, err)
	must(t, n.start())
	s := &served{n, dir}
	t.Cleanup(func() { s.end(t) })
	return s
}

// end ends the node as an operator does, once.
func (s *served) end(t *testing.T) {
	t.Helper()
	select {
	case <-s.draining:
		return
	default:
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	must(t, s.stop(ctx))
}

func (s *served) httpURL() string { return "http://" + s.http.Addr().String() }

func (s *served) webSocket() string { return s.socket.Addrs()[0].String() }

func (s *served) admin() AdminFlags { return AdminFlags{Addr: s.ops.Addr().String()} }

// as are the flags of a user who talks to the node by an address.
func (s *served) as(user, address string) DoorFlags {
	return DoorFlags{DataDir: s.dir, Addr: address, As: user, Device: "cli"}
}

// call runs `kith call` for a user, and returns what it prints.
func (s *served) call(user, method, request string) (string, error) {
	var out bytes.Buffer
	c := CallCmd{DoorFlags: s.as(user, s.httpURL()), Method: method, Request: request, JSON: true, Timeout: patience}
	err := c.run(strings.NewReader(""), &out)
	return out.String(), err
}

// must is call for what is not refused; reply is read into what the reply has.
func (s *served) do(t *testing.T, user, method, request string, reply any) {
	t.Helper()
	out, err := s.call(user, method, request)
	must(t, err)
	must(t, json.Unmarshal([]byte(out), reply))
}

// direct opens ann's conversation with bob.
func (s *served) direct(t *testing.T) json.Number {
	t.Helper()
	var opened struct {
		ID json.Number `json:"conversation_id"`
	}
	s.do(t, "ann", "Directs.Open", `{"user_id":"bob"}`, &opened)
	return opened.ID
}

// say sends a text to a conversation and returns its seq.
func (s *served) say(t *testing.T, user string, conversation json.Number, text string) uint64 {
	t.Helper()
	var sent struct{ Seq uint64 }
	quoted, err := json.Marshal(text)
	must(t, err)
	s.do(t, user, "Messages.Send", `{"conversation_id":`+conversation.String()+`,"content":{"text":{"text":`+string(quoted)+`}}}`, &sent)
	return sent.Seq
}

// Lines is what a command prints, line by line, as it prints it.
type lines struct {
	mu   sync.Mutex // guards what is below
	rest []byte
	all  chan string
}

func newLines() *lines { return &lines{all: make(chan string, 10_000)} }

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rest = append(l.rest, b...)
	for {
		line, rest, ok := bytes.Cut(l.rest, []byte{'\n'})
		if !ok {
			return len(b), nil
		}
		l.all <- string(line)
		l.rest = rest
	}
}

// next waits for a line.
func (l *lines) next(t *testing.T) string {
	t.Helper()
	select {
	case line := <-l.all:
		return line
	case <-time.After(patience):
		t.Fatal("there is no next line")
		return ""
	}
}

// A cutter is a network that breaks: it passes connections on until it cuts them.
type cutter struct {
	net.Listener
	to string

	mu    sync.Mutex // guards what is below
	conns []net.Conn
}

// newCutter passes on to an address until the test ends.
func newCutter(t *testing.T, to string) *cutter {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	c := &cutter{Listener: ln, to: to}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			in, err := ln.Accept()
			if err != nil {
				return
			}
			running.Go(func() { c.pass(in) })
		}
	})
	t.Cleanup(func() {
		_ = ln.Close() // It is closed only here.
		c.cut()
		running.Wait()
	})
	return c
}

func (c *cutter) pass(in net.Conn) {
	out, err := net.Dial("tcp", c.to)
	if err != nil {
		_ = in.Close()
		return
	}
	c.mu.Lock()
	c.conns = append(c.conns, in, out)
	c.mu.Unlock()
	over := make(chan struct{}, 2)
	for _, way := range [][2]net.Conn{{in, out}, {out, in}} {
		go func() { // It ends with either connection, which are closed below.
			_, _ = io.Copy(way[0], way[1])
			over <- struct{}{}
		}()
	}
	<-over
	_, _ = in.Close(), out.Close()
	<-over
}

// cut breaks every connection, in the middle of whatever it says.
func (c *cutter) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.conns {
		_ = conn.Close() // Some are closed already.
	}
	c.conns = nil
}
