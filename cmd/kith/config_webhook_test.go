package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kith/gateway/outbound"
)

const (
	canarySecret = "whsec_Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5"
	webhookFile  = `
[tenants.acme]
profile = "chatters"
[tenants.acme.webhook]
url = "https://hooks.example.com/kith?key=canary"
secret = "` + canarySecret + `"

[tenants.bolt]
profile = "chatters"
`
)

func loadText(t *testing.T, text string, set ...string) (Config, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kith.toml")
	must(t, os.WriteFile(path, []byte(text), 0o600))
	return Load(ConfigFlags{File: path, Set: set}, nil)
}

func TestATenantsWebhookIsKnownToItsPolicy(t *testing.T) {
	c, err := loadText(t, webhookFile)
	must(t, err)
	want := outbound.Webhook{URL: "https://hooks.example.com/kith?key=canary", Secret: canarySecret}
	if got := c.Tenants["acme"].Webhook; got != want {
		t.Errorf("webhook = %+v, want %+v", got, want)
	}
	if !c.Tenants["acme"].Policy.Webhook || c.Tenants["bolt"].Policy.Webhook {
		t.Errorf("policy.Webhook = %v and %v, want true and false", c.Tenants["acme"].Policy.Webhook, c.Tenants["bolt"].Policy.Webhook)
	}
	if c.otherFiles() != Default().otherFiles()+outbound.MaxConnections {
		t.Error("the descriptors of its connections are not counted")
	}
}

func TestAWrongWebhookIsRefusedAndNotRepeated(t *testing.T) {
	cases := []struct{ set, want string }{
		{"url=http://hooks.example.com/canary", "tenants.acme.webhook.url is http"},
		{"url=https://127.0.0.1/canary", "tenants.acme.webhook.url leads to 127.0.0.1, which is not a public address"},
		{"url=", "tenants.acme.webhook.url is missing"},
		{"secret=", "tenants.acme.webhook.secret has 0 secrets"},
		{"secret=canary", "tenants.acme.webhook.secret number 1 is not whsec_ and the base64 of 24 to 64 bytes"},
		{"ulr=x", "did you mean tenants.acme.webhook.url?"},
		{"insecure_http=perhaps", "tenants.acme.webhook.insecure_http is \"perhaps\"; it must be true or false"},
	}
	for _, c := range cases {
		_, err := loadText(t, webhookFile, "tenants.acme.webhook."+c.set)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error = %v, want one with %q", c.set, err, c.want)
		} else if strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: the error repeats a secret: %v", c.set, err)
		}
	}
	if _, err := loadText(t, webhookFile, "tenants.acme.policy.webhook=true"); err == nil || !strings.Contains(err.Error(), "is not a setting") {
		t.Errorf("policy.webhook: error = %v, want that it is not a setting", err)
	}
}
