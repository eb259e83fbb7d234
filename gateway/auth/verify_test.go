package auth

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"kith/actors/entity"
)

// start is when the tests take place.
var start = time.Unix(1_800_000_000, 0)

// A world is two tenants with a key of every kind. Tenant alpha has an audience.
type world struct {
	now      time.Time
	verifier *Verifier
	policy   entity.Policy

	alpha, beta, named ed25519.PrivateKey // named: alpha's, with the key id "rotated"
	secret             []byte             // alpha's, for HS256
	rsa                *rsa.PrivateKey    // beta's, key id "r"
	ec                 *ecdsa.PrivateKey  // beta's, key id "e"
}

// rsaKey is made once: it takes a while.
var rsaKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, minRSABits)
	if err != nil {
		panic(err)
	}
	return key
})

func newWorld(t testing.TB) *world {
	t.Helper()
	policy, ok := entity.Profile("kaliu")
	if !ok {
		t.Fatal("no profile kaliu")
	}
	w := &world{now: start, policy: policy, secret: []byte(strings.Repeat("s3cret! ", 4)), rsa: rsaKey()}
	for _, key := range []*ed25519.PrivateKey{&w.alpha, &w.beta, &w.named} {
		_, private, err := ed25519.GenerateKey(rand.Reader)
		must(t, err)
		*key = private
	}
	var err error
	w.ec, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)

	secret, err := SecretKey(w.secret)
	must(t, err)
	rotated := OwnKey(w.named)
	rotated.ID = "rotated"
	r, err := publicKey("r", w.rsa.Public())
	must(t, err)
	e, err := publicKey("e", w.ec.Public())
	must(t, err)
	w.verifier, err = NewVerifier([]Tenant{
		{Name: "alpha", Number: 1, Audience: "kith", Keys: []Key{OwnKey(w.alpha), rotated, secret}, Policy: &w.policy},
		{Name: "beta", Number: 2, Keys: []Key{OwnKey(w.beta), r, e}, Policy: &w.policy},
	}, func() time.Time { return w.now })
	must(t, err)
	return w
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// claims is a valid set of claims of alpha, with changes: pairs of name and
// value; a nil value takes the claim away.
func claims(changes ...any) jwt.MapClaims {
	c := jwt.MapClaims{
		"sub": "ann", "tenant": "alpha", "device": "phone", "aud": "kith",
		"iat": start.Unix(), "exp": start.Add(time.Hour).Unix(),
	}
	for i := 0; i < len(changes); i += 2 {
		name := changes[i].(string)
		if c[name] = changes[i+1]; c[name] == nil {
			delete(c, name)
		}
	}
	return c
}

// sign makes a token with header fields: pairs of name and value.
func sign(t testing.TB, method jwt.SigningMethod, key any, c jwt.MapClaims, header ...any) string {
	t.Helper()
	token := jwt.NewWithClaims(method, c)
	for i := 0; i < len(header); i += 2 {
		token.Header[header[i].(string)] = header[i+1]
	}
	text, err := token.SignedString(key)
	must(t, err)
	return text
}

func (w *world) good(t testing.TB, changes ...any) string {
	return sign(t, jwt.SigningMethodEdDSA, w.alpha, claims(changes...))
}

func TestTokensOfEachAlgorithmAreAccepted(t *testing.T) {
	w := newWorld(t)
	beta := claims("tenant", "beta")
	for name, token := range map[string]string{
		"EdDSA":                  w.good(t),
		"EdDSA with a key id":    sign(t, jwt.SigningMethodEdDSA, w.named, claims(), "kid", "rotated"),
		"a key without an id":    sign(t, jwt.SigningMethodEdDSA, w.alpha, claims(), "kid", "as its issuer says"),
		"HS256":                  sign(t, jwt.SigningMethodHS256, w.secret, claims()),
		"RS256":                  sign(t, jwt.SigningMethodRS256, w.rsa, beta, "kid", "r"),
		"RS256, the only one":    sign(t, jwt.SigningMethodRS256, w.rsa, beta),
		"ES256":                  sign(t, jwt.SigningMethodES256, w.ec, beta, "kid", "e"),
		"a list of audiences":    w.good(t, "aud", []string{"other", "kith"}),
		"not before now":         w.good(t, "nbf", start.Unix()),
		"a clock 20 s ahead":     w.good(t, "iat", start.Add(20*time.Second).Unix()),
		"expired 20 s ago":       w.good(t, "exp", start.Add(-20*time.Second).Unix()),
		"a fraction of a second": w.good(t, "exp", float64(start.Unix())+60.5),
		"claims of the app":      w.good(t, "Sub", "bob", "roles", []string{"x"}, "TENANT", "beta"),
	} {
		caller, expires, err := w.verifier.Verify(token)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		want := entity.Caller{Tenant: caller.Tenant, User: "ann", Number: entity.UserNumber(caller.Tenant, "ann"), Device: "phone"}
		if caller != want || caller.Tenant == 0 {
			t.Errorf("%s: caller = %+v, want %+v", name, caller, want)
		}
		if d := expires.Sub(start); d < -time.Minute || d > time.Hour {
			t.Errorf("%s: expires %v from now", name, d)
		}
	}
}

func TestTheTenantOfATokenIsTheOneWhoseKeySignedIt(t *testing.T) {
	w := newWorld(t)
	token := sign(t, jwt.SigningMethodEdDSA, w.beta, claims("tenant", "beta"))
	caller, _, err := w.verifier.Verify(token)
	if err != nil || caller.Tenant != 2 {
		t.Fatalf("caller = %+v, %v; want tenant 2", caller, err)
	}
	for _, forged := range []string{
		sign(t, jwt.SigningMethodEdDSA, w.beta, claims()),
		sign(t, jwt.SigningMethodEdDSA, w.alpha, claims("tenant", "beta")),
	} {
		if _, _, err := w.verifier.Verify(forged); err == nil || err.Msg != "the token's signature is not valid" {
			t.Errorf("a token of one tenant with the key of the other: %v", err)
		}
	}
}

func TestATokenMayLeaveOutTheOnlyTenant(t *testing.T) {
	w := newWorld(t)
	v, err := NewVerifier([]Tenant{{Name: "alpha", Number: 7, Keys: []Key{OwnKey(w.alpha)}, Policy: &w.policy}},
		func() time.Time { return w.now })
	must(t, err)
	caller, _, refused := v.Verify(w.good(t, "tenant", nil))
	if refused != nil || caller.Tenant != 7 {
		t.Errorf("caller = %+v, %v; want tenant 7", caller, refused)
	}
}

func TestExpiredTokensAreToldApart(t *testing.T) {
	w := newWorld(t)
	token := w.good(t)
	w.now = start.Add(time.Hour + w.policy.TokenLeeway - time.Second)
	if _, _, err := w.verifier.Verify(token); err != nil {
		t.Errorf("within the leeway: %v", err)
	}
	w.now = start.Add(time.Hour + w.policy.TokenLeeway)
	if _, _, err := w.verifier.Verify(token); err != ErrExpired {
		t.Errorf("after the leeway: %v, want ErrExpired", err)
	}
	forged := token[:len(token)-8] + "AAAAAAAA"
	if _, _, err := w.verifier.Verify(forged); err == nil || err == ErrExpired {
		t.Errorf("expired and forged: %v, want another error than ErrExpired", err)
	}
}

// publicPEM is a public key as everybody may have it.
func publicPEM(t testing.TB, public any) []byte {
	der, err := x509.MarshalPKIXPublicKey(public)
	must(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

// raw makes a token of parts that need not be right.
func raw(header, payload, signature string) string {
	e := base64.RawURLEncoding.EncodeToString
	return e([]byte(header)) + "." + e([]byte(payload)) + "." + e([]byte(signature))
}

// badTokens are tokens that nobody may come in with, by what is wrong.
func badTokens(t testing.TB, w *world) map[string]string {
	body := func(c jwt.MapClaims) string {
		b, err := json.Marshal(c)
		must(t, err)
		return string(b)
	}
	good, ok := w.good(t), body(claims())
	parts := strings.Split(good, ".")
	other := sign(t, jwt.SigningMethodEdDSA, w.alpha, claims("sub", "bob"))
	const head = `{"alg":"EdDSA","typ":"JWT"}`
	in := func(d time.Duration) int64 { return start.Add(d).Unix() }
	bad := map[string]string{
		"empty":                      "",
		"one part":                   "x",
		"two parts":                  parts[0] + "." + parts[1],
		"four parts":                 good + ".x",
		"only dots":                  "..",
		"a Bearer prefix":            "Bearer " + good,
		"a newline at the end":       good + "\n",
		"a newline within":           good[:50] + "\n" + good[50:],
		"a zero byte":                good + "\x00",
		"padding":                    good + "==",
		"no signature":               parts[0] + "." + parts[1] + ".",
		"another's signature":        parts[0] + "." + parts[1] + "." + strings.Split(other, ".")[2],
		"another's payload":          parts[0] + "." + strings.Split(other, ".")[1] + "." + parts[2],
		"half a signature":           good[:len(good)-40],
		"twice the signature":        good + parts[2],
		"standard base64":            parts[0] + "." + parts[1] + "." + strings.Repeat("+/", 43),
		"too long":                   good + strings.Repeat("A", MaxTokenBytes),
		"not UTF-8":                  "\xff\xfe.\xff.\xff",
		"header is no JSON":          raw("header", ok, "s"),
		"header is null":             raw("null", ok, "s"),
		"header is a list":           raw("[]", ok, "s"),
		"no alg":                     raw("{}", ok, "s"),
		"alg is a number":            raw(`{"alg":1}`, ok, "s"),
		"alg is a list":              raw(`{"alg":["EdDSA"]}`, ok, "s"),
		"alg none":                   raw(`{"alg":"none"}`, ok, ""),
		"alg None":                   raw(`{"alg":"None"}`, ok, ""),
		"alg none, signed":           raw(`{"alg":"none"}`, ok, "s"),
		"alg empty":                  raw(`{"alg":""}`, ok, ""),
		"alg in lower case":          raw(`{"alg":"eddsa"}`, ok, "s"),
		"alg HS512":                  sign(t, jwt.SigningMethodHS512, w.secret, claims()),
		"alg PS256":                  sign(t, jwt.SigningMethodPS256, w.rsa, claims("tenant", "beta")),
		"payload is no JSON":         raw(head, "payload", "s"),
		"payload is null":            raw(head, "null", "s"),
		"payload is a list":          raw(head, "[]", "s"),
		"payload is very deep":       raw(head, strings.Repeat("[", 3000), "s"),
		"payload is cut":             raw(head, ok[:len(ok)-1], "s"),
		"the secret of nobody":       sign(t, jwt.SigningMethodHS256, []byte(strings.Repeat("guess", 8)), claims()),
		"the empty secret":           sign(t, jwt.SigningMethodHS256, []byte{}, claims()),
		"HS256 with the public key":  sign(t, jwt.SigningMethodHS256, []byte(w.alpha.Public().(ed25519.PublicKey)), claims()),
		"HS256 with the public PEM":  sign(t, jwt.SigningMethodHS256, publicPEM(t, w.alpha.Public()), claims()),
		"HS256 with beta's RSA PEM":  sign(t, jwt.SigningMethodHS256, publicPEM(t, w.rsa.Public()), claims("tenant", "beta")),
		"HS256 with the kid of RSA":  sign(t, jwt.SigningMethodHS256, publicPEM(t, w.rsa.Public()), claims("tenant", "beta"), "kid", "r"),
		"kid of another algorithm":   sign(t, jwt.SigningMethodES256, w.ec, claims("tenant", "beta"), "kid", "r"),
		"kid of another key":         sign(t, jwt.SigningMethodEdDSA, w.alpha, claims(), "kid", "rotated"),
		"kid is a path":              sign(t, jwt.SigningMethodHS256, []byte{}, claims(), "kid", "../../../../dev/null"),
		"kid is SQL":                 sign(t, jwt.SigningMethodHS256, []byte("x"), claims(), "kid", "' UNION SELECT 'x"),
		"kid is a number":            sign(t, jwt.SigningMethodEdDSA, w.alpha, claims(), "kid", 1),
		"kid is null":                sign(t, jwt.SigningMethodEdDSA, w.alpha, claims(), "kid", nil),
		"kid is empty":               sign(t, jwt.SigningMethodEdDSA, w.alpha, claims(), "kid", ""),
		"kid is long":                sign(t, jwt.SigningMethodEdDSA, w.alpha, claims(), "kid", strings.Repeat("k", maxKidBytes+1)),
		"a key of its own (jwk)":     sign(t, jwt.SigningMethodHS256, []byte("mine"), claims(), "jwk", map[string]string{"kty": "oct", "k": "bWluZQ"}),
		"a key elsewhere (jku)":      sign(t, jwt.SigningMethodHS256, []byte("mine"), claims(), "jku", "http://127.0.0.1/keys"),
		"unknown extensions":         sign(t, jwt.SigningMethodEdDSA, w.alpha, claims(), "crit", []string{"b64"}, "b64", false),
		"another tenant":             w.good(t, "tenant", "beta"),
		"no tenant of ours":          w.good(t, "tenant", "gamma"),
		"no tenant":                  w.good(t, "tenant", nil),
		"tenant in capitals":         w.good(t, "tenant", "ALPHA"),
		"tenant is a number":         w.good(t, "tenant", 1),
		"tenant is empty":            w.good(t, "tenant", ""),
		"no audience":                w.good(t, "aud", nil),
		"another audience":           w.good(t, "aud", "elsewhere"),
		"audiences without ours":     w.good(t, "aud", []string{"a", "b"}),
		"audience is a number":       w.good(t, "aud", 1),
		"audiences of numbers":       w.good(t, "aud", []int{1}),
		"no expiry":                  w.good(t, "exp", nil),
		"expired":                    w.good(t, "exp", in(-time.Minute)),
		"expired in 1970":            w.good(t, "exp", 0),
		"expiry is negative":         w.good(t, "exp", -1),
		"expiry is text":             w.good(t, "exp", fmt.Sprint(in(time.Hour))),
		"expiry is a list":           w.good(t, "exp", []int64{in(time.Hour)}),
		"expiry is beyond time":      w.good(t, "exp", 1e300),
		"expiry in milliseconds":     w.good(t, "exp", in(time.Hour)*1000),
		"expires too late":           w.good(t, "exp", in(w.policy.TokenMaxLife+time.Hour)),
		"not valid yet":              w.good(t, "nbf", in(time.Minute)),
		"issued in the future":       w.good(t, "iat", in(time.Minute)),
		"not before is text":         w.good(t, "nbf", "now"),
		"no user":                    w.good(t, "sub", nil),
		"user is empty":              w.good(t, "sub", ""),
		"user is a number":           w.good(t, "sub", 42),
		"user is a list":             w.good(t, "sub", []string{"ann"}),
		"user is long":               w.good(t, "sub", strings.Repeat("u", entity.MaxUserIDBytes+1)),
		"user has a space":           w.good(t, "sub", "ann b"),
		"user has a colon":           w.good(t, "sub", "u:ann"),
		"user has a zero byte":       w.good(t, "sub", "ann\x00"),
		"user has a newline":         w.good(t, "sub", "ann\n"),
		"user cannot be seen":        w.good(t, "sub", "ann\u200b"),
		"no device":                  w.good(t, "device", nil),
		"device is empty":            w.good(t, "device", ""),
		"device is a number":         w.good(t, "device", 1),
		"device is long":             w.good(t, "device", strings.Repeat("d", entity.MaxDeviceBytes+1)),
		"device has a control char.": w.good(t, "device", "phone\x1b[2J"),
	}
	return bad
}

func TestBadTokensAreRefusedWithASentence(t *testing.T) {
	w := newWorld(t)
	bad := badTokens(t, w)
	if len(bad) < 50 {
		t.Errorf("%d bad tokens, want at least 50", len(bad))
	}
	cache := NewCache(w.verifier, 8)
	for name, token := range bad {
		for _, verify := range []func(string) (entity.Caller, time.Time, *entity.Error){w.verifier.Verify, cache.Verify} {
			caller, expires, err := verify(token)
			if err == nil {
				t.Errorf("%s: accepted as %+v", name, caller)
				continue
			}
			if (caller != entity.Caller{}) || !expires.IsZero() {
				t.Errorf("%s: refused, and yet caller = %+v, expires = %v", name, caller, expires)
			}
			if err.Code != entity.Unauthorized || err.Msg == "" {
				t.Errorf("%s: %v %q, want unauthorized and a sentence", name, err.Code, err.Msg)
			}
			if (err == ErrExpired) != strings.HasPrefix(name, "expired") {
				t.Errorf("%s: %v", name, err)
			}
			for _, part := range strings.Split(token, ".") {
				if len(part) > 3 && strings.Contains(err.Msg, part) {
					t.Errorf("%s: %q repeats a part of the token", name, err.Msg)
				}
			}
		}
	}
	if n := len(cache.byHash); n != 0 {
		t.Errorf("the cache remembers %d bad tokens", n)
	}
}

func TestSentencesSayWhatIsWrong(t *testing.T) {
	w := newWorld(t)
	bad := badTokens(t, w)
	for name, want := range map[string]string{
		"empty":                    "there is no token",
		"alg none":                 "the token's signature is not valid",
		"alg in lower case":        "the token's algorithm is not one of EdDSA, ES256, RS256 and HS256",
		"payload is no JSON":       "the token is not a JWT",
		"another audience":         "the token is for another audience",
		"no expiry":                "the token never expires; it must (claim exp)",
		"expires too late":         "the token is valid for longer than its tenant allows (720h0m0s)",
		"not valid yet":            "the token is not valid yet (claim nbf)",
		"no user":                  "the token's claim sub is missing or not a user id: " + entity.UserIDRule,
		"no device":                "the token's claim device is missing or not a device: " + entity.DeviceRule,
		"no tenant":                "the token names no tenant, and there are several",
		"no tenant of ours":        "the token's tenant is not one of this server",
		"kid of another algorithm": "the token's algorithm is not that of its key",
		"unknown extensions":       "the token demands extensions that this server does not know",
	} {
		if _, _, err := w.verifier.Verify(bad[name]); err == nil || err.Msg != want {
			t.Errorf("%s: %v\nwant %s", name, err, want)
		}
	}
}

func TestAmbiguousOrUnusableKeysAreRefused(t *testing.T) {
	w := newWorld(t)
	own, named := OwnKey(w.alpha), OwnKey(w.named)
	named.ID = "k"
	confused := own
	confused.Algorithm = HS256
	for name, tenants := range map[string][]Tenant{
		"no keys":                {{Name: "a"}},
		"the zero key":           {{Name: "a", Keys: []Key{{}}}},
		"two without an id":      {{Name: "a", Keys: []Key{own, OwnKey(w.named)}}},
		"two of one id":          {{Name: "a", Keys: []Key{named, named}}},
		"a public key for HS256": {{Name: "a", Keys: []Key{confused}}},
		"a tenant twice":         {{Name: "a", Keys: []Key{own}}, {Name: "a", Keys: []Key{own}}},
	} {
		if _, err := NewVerifier(tenants, time.Now); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// FuzzVerify wants no panic, and nobody accepted who was not signed for.
func FuzzVerify(f *testing.F) {
	w := newWorld(f)
	for _, token := range badTokens(f, w) {
		f.Add(token)
	}
	f.Fuzz(func(t *testing.T, token string) {
		if caller, _, err := w.verifier.Verify(token); err == nil {
			t.Errorf("accepted as %+v", caller)
		} else if err.Code != entity.Unauthorized {
			t.Errorf("code = %v, want unauthorized", err.Code)
		}
	})
}

func BenchmarkVerifyEdDSA(b *testing.B) { benchmarkVerify(b, false, false) }
func BenchmarkVerifyHS256(b *testing.B) { benchmarkVerify(b, true, false) }
func BenchmarkCached(b *testing.B)      { benchmarkVerify(b, false, true) }

func benchmarkVerify(b *testing.B, secret, cached bool) {
	w := newWorld(b)
	token := w.good(b)
	if secret {
		token = sign(b, jwt.SigningMethodHS256, w.secret, claims())
	}
	verify := w.verifier.Verify
	if cached {
		verify = NewCache(w.verifier, CacheTokens).Verify
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := verify(token); err != nil {
			b.Fatal(err)
		}
	}
}
