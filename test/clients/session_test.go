package clients

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/centrifugal/centrifuge-go"
)

func withToken(token string) setting { return func(c *centrifuge.Config) { c.Token = token } }

func withTokens(get func() (string, error)) setting {
	return func(c *centrifuge.Config) {
		c.Token = ""
		c.GetToken = func(centrifuge.ConnectionTokenEvent) (string, error) { return get() }
	}
}

// invalidToken is what an SDK says when its token is no good: the code of the error
// that answers its connect or its refresh, and not that of the close which follows
// (3500). Both are for good.
const invalidToken = 101

func TestATokenThatIsNoGoodEndsTheSessionForGood(t *testing.T) {
	t.Parallel()
	s := everybody.node(t)
	ann := s.people(plain, "ann")[0]
	good := ann.token(t, "phone")
	parts := strings.Split(good, ".")
	unsigned := segment(t, claims{"alg": "none"}) + "." + parts[1] + "."
	secret := segment(t, claims{"alg": "HS256"}) + "." + parts[1]
	mac := hmac.New(sha256.New, s.key(t, plain).Public().(ed25519.PublicKey))
	mac.Write([]byte(secret))
	tokens := map[string]string{
		"none":                     "",
		"no token at all":          "hello",
		"no signature":             unsigned,
		"signed with a public key": secret + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil)),
		"changed":                  parts[0] + "." + segment(t, claims{"sub": "bob", "tenant": plain, "device": "d", "exp": farAway()}) + "." + parts[2],
		"of another tenant's key":  s.sign(t, other, claims{"sub": ann.id, "tenant": plain, "device": "d", "exp": farAway()}),
		"of no tenant":             s.sign(t, plain, claims{"sub": ann.id, "tenant": "nobody", "device": "d", "exp": farAway()}),
		"without a device":         s.sign(t, plain, claims{"sub": ann.id, "tenant": plain, "exp": farAway()}),
		"without a user":           s.sign(t, plain, claims{"tenant": plain, "device": "d", "exp": farAway()}),
		"without an end":           s.sign(t, plain, claims{"sub": ann.id, "tenant": plain, "device": "d"}),
		"not valid yet":            s.sign(t, plain, claims{"sub": ann.id, "tenant": plain, "device": "d", "exp": farAway(), "nbf": farAway() - 60}),
	}
	for name, token := range tokens {
		for _, d := range []dialect{speaksJSON, speaksProto} {
			dev := ann.over(t, s.webSocket(s.listen[0]), name, d, withToken(token))
			if end := dev.gaveUp(); end.code != invalidToken {
				t.Errorf("%s, %s: it ended with %d (%s), want %d", name, d.name, end.code, end.reason, invalidToken)
			}
		}
		if _, err := s.post(token, "Dialogs.List", object{}, asJSON); !isRefusal(err, "unauthorized") {
			t.Errorf("%s, over HTTP: %v, want unauthorized", name, err)
		}
	}
}

func TestKithTokenMintsWhatTheServerTakes(t *testing.T) {
	t.Parallel()
	s := everybody.node(t)
	ann := s.people(other, "ann")[0]
	token := s.kithToken(t, ann.id, "--device", "phone", "--tenant", other, "--ttl", "1h")
	phone := ann.device(t, "phone", speaksProto, withToken(token))
	if devices := phone.ask("Devices.List", object{}).list("devices"); len(devices) != 1 || devices[0]["device_id"] != "phone" {
		t.Errorf("devices = %v, want the phone", devices)
	}
}

// Tokens of two seconds, renewed: the connection outlives many of them.
func TestARefreshedTokenKeepsTheConnection(t *testing.T) {
	t.Parallel()
	s := everybody.node(t)
	for _, d := range []dialect{speaksJSON, speaksProto} {
		t.Run(d.name, func(t *testing.T) {
			t.Parallel()
			ann := s.people(brief, "ann")[0]
			var tokens counter
			phone := ann.device(t, "phone", d, withTokens(func() (string, error) {
				tokens.add()
				return s.tokenFor(t, brief, ann.id, "phone", 2*time.Second), nil
			}))
			tokens.reach(t, 4) // The third is used when the fourth is asked for.
			phone.ask("Devices.List", object{})
			if n := phone.times(); n != 1 {
				t.Errorf("connected %d times, want 1", n)
			}
		})
	}
}

// The tokens' issuer fails once: the connection ends with 3005, the client asks
// again and goes on where it was.
func TestAnExpiredSessionComesBackWithANewToken(t *testing.T) {
	t.Parallel()
	s := everybody.node(t)
	for _, d := range []dialect{speaksJSON, speaksProto} {
		t.Run(d.name, func(t *testing.T) {
			t.Parallel()
			pair := s.people(brief, "ann", "bob")
			ann, bob := pair[0], pair[1]
			id := ann.direct(t, bob)
			var calls atomic.Int32
			phone := ann.device(t, "phone", d, withTokens(func() (string, error) {
				switch calls.Add(1) {
				case 1:
					return s.tokenFor(t, brief, ann.id, "phone", 2*time.Second), nil
				case 2:
					return "", errors.New("the issuer of tokens is ill")
				default:
					return ann.token(t, "phone"), nil
				}
			}))
			phone.reaches(logOf(id), bob.say(t, id, "before"))
			phone.endsWith(3005)
			last := bob.say(t, id, "while it was out")
			phone.connected(2)
			phone.reaches(logOf(id), last)
		})
	}
}

func TestARefreshWithAnothersTokenEndsTheSession(t *testing.T) {
	t.Parallel()
	s := everybody.node(t)
	pair := s.people(brief, "ann", "bob")
	ann, bob := pair[0], pair[1]
	var calls atomic.Int32
	phone := ann.device(t, "phone", speaksJSON, withTokens(func() (string, error) {
		if calls.Add(1) == 1 {
			return s.tokenFor(t, brief, ann.id, "phone", 2*time.Second), nil
		}
		return bob.token(t, "phone"), nil
	}))
	if end := phone.gaveUp(); end.code != invalidToken {
		t.Errorf("it ended with %d (%s), want %d", end.code, end.reason, invalidToken)
	}
}

func TestASendEndsTheSession(t *testing.T) {
	t.Parallel()
	s := everybody.node(t)
	ann := s.people(plain, "ann")[0]
	phone := ann.device(t, "phone", speaksJSON)
	must(t, phone.client.Send(within(t), []byte(`{"hello":1}`)))
	if end := phone.gaveUp(); end.code != 3508 {
		t.Errorf("it ended with %d (%s), want 3508", end.code, end.reason)
	}
}

func TestTheOldestSessionMakesRoom(t *testing.T) {
	t.Parallel()
	s := everybody.node(t)
	ann := s.people(narrow, "ann")[0]
	first, second := ann.device(t, "first", speaksJSON), ann.device(t, "second", speaksProto)
	third := ann.device(t, "third", speaksJSON)
	if end := first.gaveUp(); end.code != 3504 {
		t.Errorf("the first ended with %d (%s), want 3504", end.code, end.reason)
	}
	second.ask("Devices.List", object{})
	third.ask("Devices.List", object{})
}

func TestWhoAsksTooOftenIsRefusedAndThenSentAway(t *testing.T) {
	t.Parallel()
	s := everybody.node(t)
	ann := s.people(narrow, "ann")[0]
	phone := ann.device(t, "phone", speaksProto)
	answers := make(chan error, 100)
	for range cap(answers) {
		go func() {
			_, err := phone.call(within(t), "Devices.List", object{})
			answers <- err
		}()
	}
	done, refused := 0, 0
	for range cap(answers) {
		switch err := <-answers; {
		case err == nil:
			done++
		case isRefusal(err, "exhausted"):
			refused++
		default:
			t.Errorf("a call ended with %v", err)
		}
	}
	if done < 50 || refused == 0 {
		t.Errorf("%d calls were done and %d refused, want 50 and a few, and the rest", done, refused)
	}
	// There is no second budget at the other door.
	refused = 0
	for range 5 {
		if _, err := ann.try(t, "Devices.List", object{}); isRefusal(err, "exhausted") {
			refused++
		}
	}
	if refused == 0 {
		t.Error("over HTTP five more calls were done")
	}
	for n := 0; phone.client.State() == centrifuge.StateConnected && n < 3000; n++ {
		go func() { _, _ = phone.call(within(t), "Devices.List", object{}) }() // How it is refused was seen.
	}
	if end := phone.gaveUp(); end.code != 3509 {
		t.Errorf("it ended with %d (%s), want 3509", end.code, end.reason)
	}
}

// A client that stops reading is closed rather than kept in memory, and recovers.
func TestASlowReaderIsClosedAndRecovers(t *testing.T) {
	t.Parallel()
	s := everybody.node(t)
	pair := s.people(plain, "ann", "bob")
	ann, bob := pair[0], pair[1]
	id := ann.direct(t, bob)
	l := linkTo(t, s)
	l.change(func() { l.thin = true })
	his := bob.by(t, l, "phone", speaksProto)
	his.reaches(logOf(id), ann.say(t, id, "first"))
	slow := func() float64 { return s.metric(t, "kith_gateway_sessions_closed_total", `"slow"`) }
	before := slow()

	l.pause(down, true)
	var last uint64
	content := object{"custom": object{"type": "large", "data": strings.Repeat("0123456789abcdef", 1000)}}
	for n := 0; slow() == before; n++ {
		if n == 2000 {
			t.Fatal("the server holds 32 MB for a connection that does not take them")
		}
		last = ann.post(t, "Messages.Send", object{"conversation_id": id, "content": content}).number(t, "seq")
	}
	l.pause(down, false)
	his.connected(2)
	his.reaches(logOf(id), last)
	same(t, "history", his.messagesOf(id), ann.messages(t, id))
}

func TestAClientThatAnswersNoPingIsClosed(t *testing.T) {
	t.Parallel()
	s := everybody.node(t)
	ann := s.people(brief, "ann")[0]
	l := linkTo(t, s)
	phone := ann.by(t, l, "phone", speaksJSON)
	l.pause(up, true)
	phone.endsWith(3012)
	l.pause(up, false)
	phone.connected(2)
}

func TestAClientThatHearsNoPingComesBack(t *testing.T) {
	t.Parallel()
	s := everybody.node(t)
	pair := s.people(brief, "ann", "bob")
	ann, bob := pair[0], pair[1]
	id := ann.direct(t, bob)
	l := linkTo(t, s)
	phone := ann.by(t, l, "phone", speaksProto, func(c *centrifuge.Config) { c.MaxServerPingDelay = time.Second })
	phone.reaches(logOf(id), bob.say(t, id, "before"))
	l.pause(down, true)
	last := bob.say(t, id, "into the void")
	const noPing = 2 // the SDK's own code
	phone.endsWith(noPing)
	l.pause(down, false)
	phone.connected(2)
	phone.reaches(logOf(id), last)
}

func TestAShutdownSendsClientsToTheNextStart(t *testing.T) {
	t.Parallel()
	s := start(t)
	pair := s.people(plain, "ann", "bob")
	ann, bob := pair[0], pair[1]
	id := ann.direct(t, bob)
	var phones []*device
	for i, d := range dialects {
		phones = append(phones, ann.device(t, fmt.Sprintf("phone-%d", i), d))
	}
	before := bob.say(t, id, "before")
	for _, phone := range phones {
		phone.reaches(logOf(id), before)
	}
	must(t, s.stop())
	for _, phone := range phones {
		phone.endsWith(3001)
	}
	must(t, s.run())
	last := bob.say(t, id, "after")
	for _, phone := range phones {
		phone.connected(2)
		phone.reaches(logOf(id), last)
		phone.alwaysRecovered(logOf(id))
	}
}

// A counter counts, and can be waited for.
type counter struct {
	changing
	n int
}

func (c *counter) add() { c.change(func() { c.n++ }) }

func (c *counter) reach(t testing.TB, n int) {
	t.Helper()
	if !c.await(func() bool { return c.n >= n }) {
		t.Fatalf("there were fewer than %d within %v", n, patience)
	}
}
