package outbound

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"

	signer "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// A Webhook is where a tenant hears what happens in its conversations. The zero
// value is nowhere.
type Webhook struct {
	// URL gets a POST for each event. It must be https. Default: none.
	URL string `koanf:"url"`
	// Secret signs: "whsec_" and 24 to 64 bytes in base64. While receivers change
	// from one secret to another there may be several, with spaces between; each
	// signs. Required with a URL.
	Secret string `koanf:"secret"`
	// InsecureHTTP lets URL be http: whoever is on the way reads along. Default
	// false.
	InsecureHTTP bool `koanf:"insecure_http"`
	// InsecurePrivateAddresses lets URL lead to loopback, private networks and
	// whatever else is not the internet. Whoever chooses the URL can then make this
	// server send requests to its own neighbours. Default false.
	InsecurePrivateAddresses bool `koanf:"insecure_private_addresses"`
}

const (
	secretPrefix = "whsec_"
	// leastKeyBytes and mostKeyBytes bound a secret, as the specification does.
	leastKeyBytes = 24
	mostKeyBytes  = 64
	// maxSecrets bounds the secrets at one time. 4: an old one and a new one, of
	// two receivers.
	maxSecrets = 4
	// maxURLBytes bounds a URL. 2,048: what every server takes.
	maxURLBytes = 2048
)

// Set reports whether there is a webhook.
func (w Webhook) Set() bool { return w.URL != "" }

// Validate returns a line for everything that is wrong; each begins with a key.
func (w Webhook) Validate() error {
	if w == (Webhook{}) {
		return nil
	}
	var errs []error
	if err := w.validateURL(); err != nil {
		errs = append(errs, fmt.Errorf("url %w", err))
	}
	if _, err := w.signers(); err != nil {
		errs = append(errs, fmt.Errorf("secret %w", err))
	}
	return errors.Join(errs...)
}

// validateURL never repeats the URL, which may have a secret in it.
func (w Webhook) validateURL() error {
	if w.URL == "" {
		return errors.New("is missing")
	}
	u, err := url.Parse(w.URL)
	switch {
	case err != nil:
		return errors.New("is no URL")
	case len(w.URL) > maxURLBytes:
		return fmt.Errorf("has %d bytes; at most %d are accepted", len(w.URL), maxURLBytes)
	case u.Scheme == "http" && !w.InsecureHTTP:
		return errors.New("is http, which everybody on the way can read; it must be https, or insecure_http must be true")
	case u.Scheme != "https" && u.Scheme != "http":
		return errors.New("must begin with https://")
	case u.Hostname() == "":
		return errors.New("names no host")
	case u.User != nil || u.Fragment != "":
		return errors.New("must have no user, password or fragment: deliveries are known by their signature")
	}
	address, err := netip.ParseAddr(u.Hostname())
	if err == nil && !w.InsecurePrivateAddresses && !public(address) {
		return fmt.Errorf("leads to %s, which is not a public address; if it should, insecure_private_addresses must be true", address)
	}
	return nil
}

// signers returns one for each secret. No error repeats a secret.
func (w Webhook) signers() ([]*signer.Webhook, error) {
	secrets := strings.Fields(w.Secret)
	if len(secrets) == 0 || len(secrets) > maxSecrets {
		return nil, fmt.Errorf("has %d secrets; it must be 1 to %d, with spaces between", len(secrets), maxSecrets)
	}
	var all []*signer.Webhook
	for i, s := range secrets {
		text, ok := strings.CutPrefix(s, secretPrefix)
		key, err := base64.StdEncoding.DecodeString(text)
		if !ok || err != nil || len(key) < leastKeyBytes || len(key) > mostKeyBytes {
			return nil, fmt.Errorf("number %d is not %s and the base64 of %d to %d bytes", i+1, secretPrefix, leastKeyBytes, mostKeyBytes)
		}
		one, err := signer.NewWebhookRaw(key)
		if err != nil {
			return nil, fmt.Errorf("number %d cannot sign: %w", i+1, err)
		}
		all = append(all, one)
	}
	return all, nil
}
