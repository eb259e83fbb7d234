package outbound

import (
	"bytes"
	"strings"
	"testing"
)

func TestAWebhookSaysWhatIsWrongWithIt(t *testing.T) {
	good := Webhook{URL: "https://example.com/hook?key=canary", Secret: secret(firstKey)}
	with := func(change func(*Webhook)) Webhook {
		w := good
		change(&w)
		return w
	}
	url := func(s string) Webhook { return with(func(w *Webhook) { w.URL = s }) }
	secrets := func(s string) Webhook { return with(func(w *Webhook) { w.Secret = s }) }
	cases := []struct {
		name string
		hook Webhook
		want string // part of the error; empty: there is none
	}{
		{"none", Webhook{}, ""},
		{"https", good, ""},
		{"two secrets", secrets(secret(firstKey) + "  " + secret(secondKey)), ""},
		{"a public address", url("https://93.184.216.34/"), ""},
		{"http that is wanted", with(func(w *Webhook) { w.URL, w.InsecureHTTP = "http://example.com", true }), ""},
		{"a private address that is wanted", with(func(w *Webhook) { w.URL, w.InsecurePrivateAddresses = "https://[::1]:8443/", true }), ""},

		{"no URL", url(""), "url is missing"},
		{"no secret", secrets(""), "secret has 0 secrets"},
		{"http", url("http://example.com/canary"), "url is http"},
		{"another scheme", url("file:///canary"), "url must begin with https://"},
		{"no scheme", url("example.com/canary"), "url must begin with https://"},
		{"no host", url("https:///canary"), "url names no host"},
		{"no URL at all", url("https://[canary"), "url is no URL"},
		{"a password", url("https://ann:canary@example.com/"), "url must have no user"},
		{"a fragment", url("https://example.com/#canary"), "url must have no user"},
		{"long", url("https://example.com/" + strings.Repeat("x", maxURLBytes)), "at most 2048"},
		{"loopback", url("https://127.0.0.1/canary"), "which is not a public address"},
		{"mapped loopback", url("https://[::ffff:127.0.0.1]/canary"), "which is not a public address"},
		{"metadata", url("https://169.254.169.254/canary"), "which is not a public address"},
		{"no prefix", secrets(strings.TrimPrefix(secret(firstKey), secretPrefix)), "secret number 1 is not whsec_"},
		{"no base64", secrets("whsec_canary!"), "secret number 1 is not"},
		{"short", secrets(secret([]byte("canary"))), "secret number 1 is not"},
		{"long secret", secrets(secret(bytes.Repeat([]byte("x"), mostKeyBytes+1))), "secret number 1 is not"},
		{"the second is wrong", secrets(secret(firstKey) + " whsec_canary"), "secret number 2 is not"},
		{"too many", secrets(strings.Repeat(secret(firstKey)+" ", maxSecrets+1)), "secret has 5 secrets"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			err := c.hook.Validate()
			switch {
			case c.want == "" && err != nil:
				t.Errorf("error = %v, want none", err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("error = %v, want one with %q", err, c.want)
			case err != nil && (strings.Contains(err.Error(), "canary") || strings.Contains(err.Error(), secret(firstKey))):
				t.Errorf("the error %q repeats a secret", err)
			}
		})
	}
}
