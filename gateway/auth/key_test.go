package auth

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"crypto/ed25519"

	"github.com/golang-jwt/jwt/v5"

	"kith/actors/entity"
)

func TestAnOwnKeyIsMadeOnceAndKeptPrivate(t *testing.T) {
	path := OwnKeyPath(t.TempDir(), "demo")
	var all sync.WaitGroup
	for range 4 { // As a server and three commands that start together.
		all.Go(func() {
			if err := MakeOwnKey(path); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	first, err := ReadOwnKey(path)
	must(t, err)
	must(t, MakeOwnKey(path))
	again, err := ReadOwnKey(path)
	must(t, err)
	if !first.Equal(again) {
		t.Error("the second run made another key")
	}
	info, err := os.Stat(path)
	must(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode = %04o, want 0600", info.Mode().Perm())
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	must(t, err)
	if len(entries) != 1 {
		t.Errorf("%d files beside the key, want none", len(entries)-1)
	}
}

func TestTwoOwnKeysDiffer(t *testing.T) {
	data := t.TempDir()
	var keys []ed25519.PrivateKey
	for _, tenant := range []string{"alpha", "beta"} {
		path := OwnKeyPath(data, tenant)
		must(t, MakeOwnKey(path))
		key, err := ReadOwnKey(path)
		must(t, err)
		keys = append(keys, key)
	}
	if keys[0].Equal(keys[1]) {
		t.Error("two tenants have the same key")
	}
}

func TestASecretThatOthersCanReadIsRefused(t *testing.T) {
	path := OwnKeyPath(t.TempDir(), "demo")
	must(t, MakeOwnKey(path))
	secret := filepath.Join(t.TempDir(), "secret")
	must(t, os.WriteFile(secret, []byte(strings.Repeat("x", minSecretBytes)), 0o600))
	if _, err := ReadSecretKey(secret); err != nil {
		t.Error(err)
	}
	for _, mode := range []os.FileMode{0o640, 0o604, 0o644, 0o660} {
		must(t, os.Chmod(path, mode))
		must(t, os.Chmod(secret, mode))
		_, err := ReadOwnKey(path)
		wantError(t, "a private key", err, "can be read by others")
		_, err = ReadSecretKey(secret)
		wantError(t, "a secret", err, "can be read by others")
	}
}

func wantError(t *testing.T, what string, err error, want string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%s: %v\nwant an error with %q", what, err, want)
	}
}

func TestKeyFilesThatAreNotKeysAreRefused(t *testing.T) {
	dir := t.TempDir()
	put := func(name, text string) string {
		path := filepath.Join(dir, name)
		must(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	own := OwnKeyPath(dir, "demo")
	must(t, MakeOwnKey(own))
	private, err := os.ReadFile(own)
	must(t, err)
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	must(t, err)
	ed := publicPEM(t, OwnKey(ed25519.NewKeyFromSeed(make([]byte, 32))).material)

	_, err = ReadOwnKey(filepath.Join(dir, "none"))
	wantError(t, "no file", err, "no such file")
	_, err = ReadOwnKey(dir)
	wantError(t, "a folder", err, "not a file")
	_, err = ReadOwnKey(put("rubbish", "rubbish"))
	wantError(t, "no PEM", err, "no PEM block")
	_, err = ReadOwnKey(put("large", strings.Repeat("x", maxKeyFileBytes+1)))
	wantError(t, "a large file", err, "larger than")
	_, err = ReadSecretKey(put("short", "secret\n"))
	wantError(t, "a short secret", err, "at least 32 bytes, and this has 6")
	_, err = ReadSecretKey(put("pem", string(ed)))
	wantError(t, "a public key as a secret", err, "PEM key")
	_, err = ReadPublicKey(EdDSA, put("private", string(private)))
	wantError(t, "a private key", err, "must not be here")
	_, err = ReadPublicKey(RS256, put("ed", string(ed)))
	wantError(t, "a key of another kind", err, "for EdDSA, not for RS256")
	_, err = ReadPublicKey(EdDSA, put("two", string(ed)+string(ed)))
	wantError(t, "two keys", err, "more in it than one")
	_, err = ReadPublicKey(ES256, put("p384", string(publicPEM(t, p384.Public()))))
	wantError(t, "another curve", err, "needs P-256")
	if _, err = ReadPublicKey(EdDSA, put("ed", string(ed))); err != nil {
		t.Error(err)
	}
}

// b64 is how a JWKS writes bytes.
var b64 = base64.RawURLEncoding.EncodeToString

// jwksOf is a JWKS of beta's keys and two that are not for us.
func jwksOf(t testing.TB, w *world) []byte {
	point, err := w.ec.PublicKey.Bytes()
	must(t, err)
	text, err := json.Marshal(map[string]any{"keys": []map[string]string{
		{"kty": "OKP", "crv": "Ed25519", "kid": "o", "alg": "EdDSA", "use": "sig", "x": b64(w.beta.Public().(ed25519.PublicKey))},
		{"kty": "EC", "crv": "P-256", "kid": "e", "x": b64(point[1:33]), "y": b64(point[33:])},
		{"kty": "RSA", "kid": "r", "n": b64(w.rsa.N.Bytes()), "e": b64(big.NewInt(int64(w.rsa.E)).Bytes())},
		{"kty": "RSA", "kid": "enc", "use": "enc", "n": "x", "e": "y"},
		{"kty": "new", "kid": "new"},
	}})
	must(t, err)
	return text
}

func TestAKeySetVerifiesTokensByTheirKeyID(t *testing.T) {
	w := newWorld(t)
	path := filepath.Join(t.TempDir(), "jwks.json")
	must(t, os.WriteFile(path, jwksOf(t, w), 0o644))
	keys, err := ReadJWKS(path)
	must(t, err)
	if len(keys) != 3 {
		t.Fatalf("%d keys, want 3", len(keys))
	}
	v, err := NewVerifier([]Tenant{{Name: "beta", Number: 2, Keys: keys, Policy: &w.policy}}, w.verifier.now)
	must(t, err)
	beta := claims("tenant", "beta")
	for name, token := range map[string]string{
		"o": sign(t, jwt.SigningMethodEdDSA, w.beta, beta, "kid", "o"),
		"e": sign(t, jwt.SigningMethodES256, w.ec, beta, "kid", "e"),
		"r": sign(t, jwt.SigningMethodRS256, w.rsa, beta, "kid", "r"),
	} {
		if _, _, err := v.Verify(token); err != nil {
			t.Errorf("key %s: %v", name, err)
		}
	}
	token := sign(t, jwt.SigningMethodEdDSA, w.beta, beta, "kid", "enc")
	if _, _, err := v.Verify(token); err == nil || err.Msg != "the token's key is not one of its tenant's" {
		t.Errorf("a key id of no signature key: %v", err)
	}
}

// badKeySets are files that are no JWKS to use, with a word of the error.
var badKeySets = map[string]string{
	`x`:                        "not a JWKS",
	`{}`:                       "no key for",
	`null`:                     "no key for",
	`{"keys":{}}`:              "not a JWKS",
	`{"keys":[{"kty":"new"}]}`: "no key for",
	`{"keys":[{"kty":"oct","k":"c2VjcmV0"}]}`:                                               "a file of its own",
	`{"keys":[{"kty":"OKP","crv":"Ed25519","x":"AA","d":"AA"}]}`:                            "private key",
	`{"keys":[{"kty":"OKP","crv":"Ed25519","x":"AA"}]}`:                                     "has 1",
	`{"keys":[{"kty":"OKP","crv":"Ed25519","x":"=="}]}`:                                     "base64url",
	`{"keys":[{"kty":"EC","crv":"P-256","x":"AA"}]}`:                                        "member y",
	`{"keys":[{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}]}`:                               "32 bytes",
	`{"keys":[{"kty":"RSA","n":"AQAB"}]}`:                                                   "member e",
	`{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"}]}`:                                        "17 bits",
	`{"keys":[{"kty":"RSA","n":"AQAB","e":"AQABAQAB"}]}`:                                    "too long",
	`{"keys":[` + strings.Repeat(`{},`, MaxJWKSKeys) + `{}]}`:                               "at most 100",
	`{"keys":[{"kid":"` + strings.Repeat("k", maxKidBytes+1) + `"}]}`:                       "longer than",
	`{"keys":[{"kty":"EC","crv":"P-256","x":"` + zeros(32) + `","y":"` + zeros(32) + `"}]}`: "point",
}

func zeros(n int) string { return b64(make([]byte, n)) }

func TestBadKeySetsAreRefused(t *testing.T) {
	for text, want := range badKeySets {
		_, err := ParseJWKS([]byte(text))
		wantError(t, text, err, want)
	}
}

// FuzzJWKS wants no panic, and that every key it yields can be used.
func FuzzJWKS(f *testing.F) {
	f.Add(jwksOf(f, newWorld(f)))
	for text := range badKeySets {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		keys, err := ParseJWKS(text)
		if err == nil && len(keys) == 0 {
			t.Error("neither a key nor an error")
		}
		for _, k := range keys {
			if err := k.check(); err != nil {
				t.Error(err)
			}
		}
	})
}

func TestMintMakesWhatVerifyAccepts(t *testing.T) {
	w := newWorld(t)
	c := Claims{User: "ann", Tenant: "alpha", Device: "phone", Audience: "kith", IssuedAt: start.Unix(), Expires: start.Unix() + 60}
	token, err := Mint(w.alpha, c)
	must(t, err)
	caller, expires, refused := w.verifier.Verify(token)
	if refused != nil || caller.User != "ann" || caller.Device != "phone" || expires.Unix() != c.Expires {
		t.Errorf("caller = %+v, %v, %v", caller, expires, refused)
	}
	for name, change := range map[string]func(*Claims){
		entity.UserIDRule:     func(c *Claims) { c.User = "a b" },
		entity.DeviceRule:     func(c *Claims) { c.Device = "" },
		"before it is issued": func(c *Claims) { c.Expires = c.IssuedAt },
	} {
		bad := c
		change(&bad)
		_, err := Mint(w.alpha, bad)
		wantError(t, "mint", err, name)
	}
}
