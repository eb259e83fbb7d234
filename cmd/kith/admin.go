package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"kith/actors/entity"
	"kith/gateway/client"
)

// AdminFlags say which server on this machine an operator's command talks to.
type AdminFlags struct {
	File string   `name:"config" short:"c" placeholder:"FILE" help:"Configuration file of the server, for its internal address. Default: $$KITH_CONFIG, or none."`
	Set  []string `name:"set" sep:"none" placeholder:"KEY=VALUE" help:"Any setting of the server, by its key. May be repeated."`
	Addr string   `placeholder:"HOST:PORT" help:"Internal address of the server (listen.internal; default: 127.0.0.1:8002)."`
}

// maxAdminBytes bounds an answer of the internal listener.
const maxAdminBytes = 4 << 20

// ask sends a request to the internal listener, with body in JSON unless it is nil,
// and reads the answer into it.
func (f *AdminFlags) ask(ctx context.Context, verb, path string, body, answer any) (err error) {
	address := strings.TrimSuffix(strings.TrimPrefix(f.Addr, "http://"), "/")
	if address == "" {
		config, err := Load(ConfigFlags{File: f.File, Set: f.Set}, os.Environ())
		if err != nil {
			return err
		}
		address = config.Listen.Internal
	}
	if host, port, err := net.SplitHostPort(address); err == nil {
		if ip := net.ParseIP(host); host == "" || host == "localhost" || ip.IsUnspecified() {
			address = net.JoinHostPort("127.0.0.1", port) // What listens everywhere, listens here.
		}
	}
	text, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("encode the request: %w", err)
	}
	r, err := http.NewRequestWithContext(ctx, verb, "http://"+address+path, bytes.NewReader(text))
	if err != nil {
		return usage(fmt.Sprintf("--addr %s is no address; one is 127.0.0.1:8002", f.Addr))
	}
	r.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return fmt.Errorf("reach the server at its internal address: %w", client.Cause(err))
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	text, err = io.ReadAll(io.LimitReader(resp.Body, maxAdminBytes))
	switch {
	case err != nil:
		return fmt.Errorf("read the server's answer: %w", err)
	case resp.StatusCode != http.StatusOK:
		return refusal(client.Problem(resp, text))
	}
	if err := json.Unmarshal(text, answer); err != nil {
		return fmt.Errorf("read the server's answer: %w", err)
	}
	return nil
}

// operator is what the internal listener has a node do.
type operator struct{ *node }

// Backup implements httpapi.Admin.
func (o operator) Backup(dir string) error {
	if !o.backingUp.TryLock() {
		return entity.Errorf(entity.Conflict, "a backup is under way")
	}
	defer o.backingUp.Unlock()
	if _, err := os.Lstat(dir); err == nil {
		return entity.Errorf(entity.Conflict, "%s exists already; name a directory that does not", dir)
	}
	began := time.Now()
	if err := o.db.Checkpoint(dir); err != nil {
		return err
	}
	o.log.Info("backed up", "dir", dir, "took", time.Since(began))
	return nil
}

// DeadLetters implements httpapi.Admin.
func (o operator) DeadLetters(limit int) ([]entity.Parked, int, error) {
	return o.host.DeadLetters(limit)
}

// ReplayDeadLetters implements httpapi.Admin.
func (o operator) ReplayDeadLetters() (int, error) {
	n, err := o.host.ReplayDeadLetters()
	if err == nil {
		o.log.Info("dead letters are delivered again", "letters", n)
	}
	return n, err
}
