package clients

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// Two secrets of the tenant's, old and new. The receiver knows one of them.
const (
	oldSecret = "whsec_b2xkIG9sZCBvbGQgb2xkIG9sZCBvbGQgb2xkIQ=="
	newSecret = "whsec_bmV3IG5ldyBuZXcgbmV3IG5ldyBuZXcgbmV3IQ=="
)

// A receiver is the server of a tenant: the program of the README, which verifies
// with standardwebhooks of npm. It is down until it is started.
type receiver struct {
	address string

	changing // guards what is below
	got      []delivery
	faults   []string
}

// A delivery is what the program prints for each request that it has verified.
type delivery struct {
	ID        string `json:"id"`
	Type      string `json:"type"`
	Timestamp string `json:"timestamp"`
	Data      struct {
		Tenant         string `json:"tenant"`
		ConversationID uint64 `json:"conversation_id"`
		Event          event  `json:"event"`
	} `json:"data"`
}

func newReceiver(t testing.TB) *receiver {
	t.Helper()
	l, err := net.Listen("tcp", loopback()+":0")
	must(t, err)
	must(t, l.Close()) // Nobody else takes the port there.
	return &receiver{address: l.Addr().String()}
}

// start runs the program until the returned function is called, or the test ends.
func (r *receiver) start(t testing.TB, secret string) (stop func()) {
	t.Helper()
	host, port, err := net.SplitHostPort(r.address)
	must(t, err)
	cmd := exec.Command("node", "npm/receiver.mjs")
	cmd.Env = append(environment(), "HOST="+host, "PORT="+port, "WEBHOOK_SECRET="+secret)
	var faults bytes.Buffer
	cmd.Stderr = &faults
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	over := make(chan struct{})
	go func() {
		defer close(over)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			r.take(lines.Text())
		}
		_ = cmd.Wait() // It was killed.
	}()
	stop = func() {
		_ = cmd.Process.Kill() // It may have been stopped before.
		<-over
		if faults.Len() > 0 {
			t.Errorf("the receiver says: %s", faults.String())
		}
	}
	t.Cleanup(stop)
	return stop
}

func (r *receiver) take(line string) {
	var d delivery
	decoder := json.NewDecoder(strings.NewReader(line))
	decoder.UseNumber() // As history is read, with which it is compared.
	err := decoder.Decode(&d)
	r.change(func() {
		if err != nil {
			r.faults = append(r.faults, fmt.Sprintf("%v in %s", err, line))
		}
		r.got = append(r.got, d)
	})
}

// reaches waits for an event of a conversation and returns all of it so far, each
// once: what was repeated had the same id, and nothing came before its turn.
func (r *receiver) reaches(t testing.TB, conversation, seq uint64) []delivery {
	t.Helper()
	var all []delivery
	arrived := r.await(func() bool {
		all = nil
		last, ids := uint64(0), map[string]uint64{}
		for _, d := range r.got {
			if d.Data.ConversationID != conversation {
				continue
			}
			e := d.Data.Event
			if known, ok := ids[d.ID]; ok && known == e.Seq {
				continue // An attempt whose answer was lost.
			}
			if e.Seq <= last {
				r.faults = append(r.faults, fmt.Sprintf("event %d came after %d as %s", e.Seq, last, d.ID))
			}
			last, ids[d.ID] = e.Seq, e.Seq
			all = append(all, d)
		}
		return last >= seq
	})
	r.read(func() {
		for _, fault := range r.faults {
			t.Error(fault)
		}
	})
	if !arrived {
		t.Fatalf("event %d did not arrive in %v; only %v", seq, patience, all)
	}
	return all
}

// hooked is the configuration of a tenant whose webhook is the receiver.
func (r *receiver) hooked() string {
	return fmt.Sprintf("\n[tenants.hooked]\nprofile = \"bench\"\n[tenants.hooked.webhook]\nurl = \"http://%s/hook?key=canary\"\nsecret = %q\n"+
		"insecure_http = true\ninsecure_private_addresses = true\n", r.address, oldSecret+" "+newSecret)
}

// startWith starts a node of a test's own with more in its configuration.
func startWith(t testing.TB, more string) *server {
	t.Helper()
	s, err := newServer(t.TempDir())
	must(t, err)
	s.more = more
	must(t, s.run())
	t.Cleanup(func() {
		if err := s.stop(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("the server's log ends:\n%s", s.log.tail())
		}
	})
	return s
}

// kinds are the types of deliveries, each with its seq.
func kinds(all []delivery) string {
	var list []string
	for _, d := range all {
		list = append(list, fmt.Sprint(d.Type, "/", d.Data.Event.Seq))
	}
	return strings.Join(list, " ")
}

// The receiver is down while people write, edit and revoke, and so is the server
// for a moment. Once both are there everything arrives: in order, signed, and what
// was revoked before it could be sent never left.
func TestAWebhookHearsEverythingInOrderOnceItIsThere(t *testing.T) {
	t.Parallel()
	requireNode(t)
	r := newReceiver(t)
	s := startWith(t, r.hooked())
	people := s.people("hooked", "ann", "bob")
	ann, bob := people[0], people[1]
	direct := ann.direct(t, bob)
	secret := ann.say(t, direct, "canary")
	second := ann.say(t, direct, "second")
	ann.post(t, "Messages.Edit", object{"conversation_id": direct, "seq": second, "content": text("second, édité 🙂")})
	revoked := ann.post(t, "Messages.Revoke", object{"conversation_id": direct, "seq": secret}).number(t, "seq")
	group := bob.group(t, nil, ann)
	other := bob.say(t, group, "elsewhere")

	must(t, s.kill())
	must(t, s.run())
	stop := r.start(t, newSecret)
	all := r.reaches(t, direct, revoked)
	if got, want := kinds(all), "direct.opened/1 message.sent/2 message.sent/3 message.edited/4 message.revoked/5"; got != want {
		t.Fatalf("deliveries = %s, want %s", got, want)
	}
	history := ann.history(t, direct)
	for i, seq := range []uint64{secret, second} {
		same(t, "the delivered message", []event{all[seq-1].Data.Event}, history[i:i+1])
	}
	if text := all[2].Data.Event.text(); text != "second, édité 🙂" {
		t.Errorf("the edited message says %q", text)
	}
	if tenant := all[0].Data.Tenant; tenant != "hooked" || all[0].Timestamp == "" {
		t.Errorf("tenant = %q, timestamp = %q", tenant, all[0].Timestamp)
	}
	if got, want := kinds(r.reaches(t, group, other)), "group.created/1 member.joined/2 message.sent/3"; got != want {
		t.Errorf("deliveries of the group = %s, want %s", got, want)
	}

	stop()
	ann.say(t, direct, "six")
	must(t, s.stop())
	must(t, s.run())
	r.start(t, oldSecret) // The other one has signed, too.
	seven := bob.say(t, direct, "seven")
	if got := kinds(r.reaches(t, direct, seven)[5:]); got != "message.sent/6 message.sent/7" {
		t.Errorf("deliveries after both were down = %s", got)
	}
	r.read(func() {
		if text := fmt.Sprintf("%+v", r.got); strings.Contains(text, "canary") {
			t.Error("what was revoked has left the server")
		}
	})
	log, err := os.ReadFile(s.log.file.Name())
	must(t, err)
	for _, private := range []string{"canary", "second", oldSecret, newSecret} {
		if bytes.Contains(log, []byte(private)) {
			t.Errorf("the log has %q in it", private)
		}
	}
	// The seventh was sent after the sixth had been counted.
	if n := s.metric(t, "kith_webhook_attempts_total", `outcome="delivered",tenant="hooked"`); n < 1 {
		t.Errorf("%v deliveries are counted since the last start, want one at least", n)
	}
}

func TestTheReceiverOfTheReadmeRefusesForgeries(t *testing.T) {
	t.Parallel()
	requireNode(t)
	program, err := os.ReadFile("npm/receiver.mjs")
	must(t, err)
	readme, err := os.ReadFile(repository + "/README.md")
	must(t, err)
	if !strings.Contains(string(readme), string(program)) {
		t.Error("npm/receiver.mjs is not in the README as it stands")
	}
	r := newReceiver(t)
	s := startWith(t, r.hooked())
	people := s.people("hooked", "ann", "bob")
	direct := people[0].direct(t, people[1])
	r.start(t, newSecret)
	r.reaches(t, direct, 1)
	resp, err := httpClient.Post("http://"+r.address+"/hook", "application/json", strings.NewReader(`{"type":"message.sent"}`))
	must(t, err)
	_, err = readAll(resp)
	must(t, err)
	if resp.StatusCode != http.StatusBadRequest {
		t.Errorf("without a signature: status %d, want 400", resp.StatusCode)
	}
}
