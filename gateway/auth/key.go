package auth

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
)

// The algorithms that a key can be bound to, by their names in a token. There
// is no "none".
const (
	EdDSA = "EdDSA"
	HS256 = "HS256"
	RS256 = "RS256"
	ES256 = "ES256"
)

// minSecretBytes is the least that a secret for HS256 has: as much as the hash,
// as RFC 7518 §3.2 demands. A shorter one can be guessed from one token.
const minSecretBytes = 32

// minRSABits is what RFC 7518 §3.3 demands; maxRSABits keeps a key file from
// making every token a second of work.
const (
	minRSABits = 2048
	maxRSABits = 8192
)

// A Key verifies tokens of one algorithm and no other. The functions that make
// one check that its material fits.
type Key struct {
	ID        string // what tokens call it (kid); empty: tokens need not name it
	Algorithm string
	material  any // ed25519.PublicKey, *rsa.PublicKey, *ecdsa.PublicKey; []byte for HS256
}

// check says whether the material is of the algorithm, whatever made the key.
func (k Key) check() error {
	var fits bool
	switch material := k.material.(type) {
	case ed25519.PublicKey:
		fits = k.Algorithm == EdDSA && len(material) == ed25519.PublicKeySize
	case *rsa.PublicKey:
		fits = k.Algorithm == RS256
	case *ecdsa.PublicKey:
		fits = k.Algorithm == ES256
	case []byte:
		fits = k.Algorithm == HS256 && len(material) >= minSecretBytes
	}
	if !fits {
		return fmt.Errorf("the key %q cannot be used with %q", k.ID, k.Algorithm)
	}
	return nil
}

// OwnKey is the key that verifies what Mint signs with private.
func OwnKey(private ed25519.PrivateKey) Key {
	return Key{Algorithm: EdDSA, material: private.Public().(ed25519.PublicKey)}
}

// SecretKey is a key for HS256. A line end after the secret does not count: an
// editor put it there.
func SecretKey(secret []byte) (Key, error) {
	secret = bytes.TrimRight(secret, "\r\n")
	if bytes.Contains(secret, []byte("-----BEGIN ")) {
		return Key{}, errors.New("a secret for HS256 is random bytes, and this is a PEM key")
	}
	if len(secret) < minSecretBytes {
		return Key{}, fmt.Errorf("a secret for HS256 has at least %d bytes, and this has %d; `openssl rand -hex 32` makes one",
			minSecretBytes, len(secret))
	}
	return Key{Algorithm: HS256, material: bytes.Clone(secret)}, nil
}

// PublicKey is the key in a PEM block "PUBLIC KEY", for the algorithm EdDSA,
// RS256 or ES256.
func PublicKey(algorithm string, text []byte) (Key, error) {
	block, rest := pem.Decode(text)
	switch {
	case block == nil:
		return Key{}, errors.New("there is no PEM block in it")
	case block.Type != "PUBLIC KEY":
		return Key{}, fmt.Errorf("its PEM block is a %q; a \"PUBLIC KEY\" is needed, and a private key must not be here", block.Type)
	case len(bytes.TrimSpace(rest)) > 0:
		return Key{}, errors.New("there is more in it than one PEM block")
	}
	public, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return Key{}, fmt.Errorf("read its public key: %w", err)
	}
	key, err := publicKey("", public)
	if err != nil {
		return Key{}, err
	}
	if key.Algorithm != algorithm {
		return Key{}, fmt.Errorf("it has a key for %s, not for %s", key.Algorithm, algorithm)
	}
	return key, nil
}

// publicKey binds a public key to the one algorithm that we use its kind with.
func publicKey(id string, public any) (Key, error) {
	switch public := public.(type) {
	case ed25519.PublicKey:
		return Key{id, EdDSA, public}, nil
	case *ecdsa.PublicKey:
		if public.Curve != elliptic.P256() {
			return Key{}, fmt.Errorf("its curve is %s; ES256 needs P-256", public.Curve.Params().Name)
		}
		return Key{id, ES256, public}, nil
	case *rsa.PublicKey:
		if bits := public.N.BitLen(); bits < minRSABits || bits > maxRSABits {
			return Key{}, fmt.Errorf("it has an RSA key of %d bits; %d to %d are accepted", bits, minRSABits, maxRSABits)
		}
		if public.E < 3 || public.E%2 == 0 {
			return Key{}, errors.New("its RSA exponent is not an odd number of at least 3")
		}
		return Key{id, RS256, public}, nil
	default:
		return Key{}, fmt.Errorf("it has a %T; Ed25519, P-256 and RSA keys are accepted", public)
	}
}
