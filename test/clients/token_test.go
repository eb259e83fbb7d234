package clients

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// claims is what a token says.
type claims map[string]any

// tokenFor mints what `kith token` would, without starting a process: tests need
// hundreds.
func (s *server) tokenFor(t testing.TB, tenant, user, device string, life time.Duration) string {
	t.Helper()
	now := time.Now()
	return s.sign(t, tenant, claims{
		"sub": user, "tenant": tenant, "device": device, "iat": now.Unix(), "exp": now.Add(life).Unix(),
	})
}

// sign signs claims with the key that the server made for a tenant.
func (s *server) sign(t testing.TB, tenant string, c claims) string {
	t.Helper()
	key := s.key(t, tenant)
	body := segment(t, claims{"alg": "EdDSA", "typ": "JWT"}) + "." + segment(t, c)
	return body + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(key, []byte(body)))
}

func (s *server) key(t testing.TB, tenant string) ed25519.PrivateKey {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(s.data(), "keys", tenant+".key"))
	must(t, err)
	var der []byte
	if block, _ := pem.Decode(text); block != nil {
		der = block.Bytes
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	must(t, err)
	private, ok := key.(ed25519.PrivateKey)
	if !ok {
		t.Fatalf("the key of %s is %T, want Ed25519", tenant, key)
	}
	return private
}

func segment(t testing.TB, c claims) string {
	t.Helper()
	b, err := json.Marshal(c)
	must(t, err)
	return base64.RawURLEncoding.EncodeToString(b)
}

// kithToken mints a token as a person does.
func (s *server) kithToken(t testing.TB, args ...string) string {
	t.Helper()
	config := filepath.Join(s.dir, "kith.toml")
	cmd := exec.Command(program, append([]string{"token", "--config", config}, args...)...)
	cmd.Env = environment()
	out, err := cmd.Output()
	must(t, err)
	return strings.TrimSpace(string(out))
}

// farAway is when tokens expire that tests sign by hand.
func farAway() int64 { return time.Now().Add(time.Hour).Unix() }
