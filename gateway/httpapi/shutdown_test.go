package httpapi

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"syscall"
	"testing"
	"time"

	"kith/actors/entity"
	"kith/actors/pb"
)

// held makes calls wait for the test.
func (w *world) held() (asked chan func(entity.Result)) {
	asked = make(chan func(entity.Result), 1)
	w.node.answers(func(_ *entity.Call, done func(entity.Result)) { asked <- done })
	return asked
}

// send sends a request from another goroutine, and gives its answer or error.
func send(r *http.Request) (answer chan any) {
	answer = make(chan any, 1)
	go func() {
		resp, err := (&http.Client{Transport: &http.Transport{}}).Do(r)
		if err != nil {
			answer <- err
			return
		}
		_, err = io.Copy(io.Discard, resp.Body)
		if err = errors.Join(err, resp.Body.Close()); err != nil {
			answer <- err
			return
		}
		answer <- resp
	}()
	return answer
}

func TestWhatIsUnderWayIsAnsweredBeforeTheEnd(t *testing.T) {
	w := start(t, nil)
	asked := w.held()
	answer := send(w.request(t, "Messages.Send", hello))
	done := <-asked
	ended := make(chan error, 1)
	go func() { ended <- w.door.Shutdown(context.Background()) }()
	for { // Until nobody is let in any more.
		c, err := net.Dial("tcp", w.addr)
		if err != nil {
			break
		}
		_ = c.Close() // It was only to see whether it opens.
	}
	done(entity.Result{Reply: &pb.SendResponse{Seq: 1}})
	if err := <-ended; err != nil {
		t.Errorf("Shutdown = %v, want nil", err)
	}
	resp, ok := (<-answer).(*http.Response)
	if !ok || resp.StatusCode != http.StatusOK || !resp.Close {
		t.Errorf("answer = %+v, want 200 and the connection's end", resp)
	}
}

func TestAnEndDoesNotWaitForEver(t *testing.T) {
	w := start(t, nil)
	asked := w.held()
	answer := send(w.request(t, "Messages.Send", hello))
	done := <-asked
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if err := w.door.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Shutdown = %v, want the deadline's error", err)
	}
	if err, ok := (<-answer).(error); !ok {
		t.Errorf("answer = %v, want a connection that was cut", err)
	}
	done(entity.Result{Reply: &pb.SendResponse{Seq: 1}}) // Too late for all but the goroutine that waits.
}

func TestADoorThatWasShutDoesNotOpen(t *testing.T) {
	w := prepare(t, nil)
	if err := w.door.Shutdown(context.Background()); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := w.door.Serve(ln); err != nil {
		t.Errorf("Serve = %v, want nil", err)
	}
	if _, err := net.Dial("tcp", ln.Addr().String()); err == nil {
		t.Error("the listener is open")
	}
}

// scripted is a listener that fails as it is told to.
type scripted struct {
	net.Listener
	errs []error
}

func (s *scripted) Accept() (net.Conn, error) {
	if len(s.errs) == 0 {
		return s.Listener.Accept()
	}
	err := s.errs[0]
	s.errs = s.errs[1:]
	return nil, err
}

func TestALackOfDescriptorsPasses(t *testing.T) {
	w := prepare(t, nil)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	full := &net.OpError{Op: "accept", Err: syscall.EMFILE}
	go func() { w.served <- w.door.Serve(&scripted{ln, []error{full, full}}) }()
	w.addr = ln.Addr().String()
	get(t, w.dial(t), "Connection: close\r\n")
	if err := errors.Join(w.door.Shutdown(context.Background()), <-w.served); err != nil {
		t.Error(err)
	}
}

func TestAListenerThatBreaksIsAnError(t *testing.T) {
	w := prepare(t, nil)
	broken := errors.New("the network is gone")
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := w.door.Serve(&scripted{ln, []error{broken}}); !errors.Is(err, broken) {
		t.Errorf("Serve = %v, want %v", err, broken)
	}
	if err := ln.Close(); err != nil {
		t.Error(err)
	}
}
