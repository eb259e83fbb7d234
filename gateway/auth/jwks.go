package auth

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
)

// MaxJWKSKeys bounds the keys of a JWKS file. 100: a rotation has two or three.
const MaxJWKSKeys = 100

// jwk is a key of a JWKS (RFC 7517): its members that matter here.
type jwk struct {
	Kty string `json:"kty"`
	Use string `json:"use"`
	Alg string `json:"alg"`
	Kid string `json:"kid"`
	Crv string `json:"crv"`
	X   string `json:"x"`
	Y   string `json:"y"`
	N   string `json:"n"`
	E   string `json:"e"`
	K   string `json:"k"` // the secret of a symmetric key
	D   string `json:"d"` // the private part of the others
}

// ParseJWKS returns the keys of a JWKS that tokens can be verified with. Keys
// for encryption and of kinds we do not use are passed over, as RFC 7517 §5
// wants; a private key or a secret in the file is an error.
func ParseJWKS(text []byte) ([]Key, error) {
	var set struct {
		Keys []jwk `json:"keys"`
	}
	if err := json.Unmarshal(text, &set); err != nil {
		return nil, fmt.Errorf("it is not a JWKS: %w", err)
	}
	if len(set.Keys) > MaxJWKSKeys {
		return nil, fmt.Errorf("it has %d keys; at most %d are accepted", len(set.Keys), MaxJWKSKeys)
	}
	var keys []Key
	for i, j := range set.Keys {
		key, used, err := j.key()
		if err != nil {
			return nil, fmt.Errorf("key %d (kid %q): %w", i+1, j.Kid, err)
		}
		if used {
			keys = append(keys, key)
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("it has no key for EdDSA, ES256 or RS256 signatures")
	}
	return keys, nil
}

// key is the Key that j describes; used is false if it is for something else.
func (j jwk) key() (key Key, used bool, err error) {
	switch {
	case j.D != "":
		return Key{}, false, errors.New("it is a private key, which must not be in this file")
	case j.K != "" || j.Kty == "oct":
		return Key{}, false, errors.New("it is a secret; a secret for HS256 goes into a file of its own")
	case len(j.Kid) > maxKidBytes:
		return Key{}, false, fmt.Errorf("its kid is longer than %d bytes", maxKidBytes)
	case j.Use != "" && j.Use != "sig":
		return Key{}, false, nil
	}
	var public any
	switch {
	case j.Kty == "OKP" && j.Crv == "Ed25519":
		public, err = j.ed25519()
	case j.Kty == "EC" && j.Crv == "P-256":
		public, err = j.p256()
	case j.Kty == "RSA":
		public, err = j.rsa()
	default:
		return Key{}, false, nil
	}
	if err != nil {
		return Key{}, false, err
	}
	key, err = publicKey(j.Kid, public)
	if err != nil {
		return Key{}, false, err
	}
	// An RSA key may be for RS512 or PS256: not for us. RFC 9864 says Ed25519
	// where the older RFC 8037 says EdDSA.
	fits := j.Alg == "" || j.Alg == key.Algorithm || j.Alg == "Ed25519" && key.Algorithm == EdDSA
	return key, fits, nil
}

func (j jwk) ed25519() (ed25519.PublicKey, error) {
	x, err := member("x", j.X)
	if err != nil {
		return nil, err
	}
	if len(x) != ed25519.PublicKeySize {
		return nil, fmt.Errorf("an Ed25519 key has %d bytes, and its x has %d", ed25519.PublicKeySize, len(x))
	}
	return x, nil
}

func (j jwk) p256() (*ecdsa.PublicKey, error) {
	const coordinateBytes = 32
	x, err := member("x", j.X)
	if err != nil {
		return nil, err
	}
	y, err := member("y", j.Y)
	if err != nil {
		return nil, err
	}
	if len(x) != coordinateBytes || len(y) != coordinateBytes {
		return nil, fmt.Errorf("the coordinates of a P-256 key have %d bytes each", coordinateBytes)
	}
	const uncompressed = 4 // SEC 1, section 2.3.3
	point := append(append([]byte{uncompressed}, x...), y...)
	public, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
	if err != nil {
		return nil, fmt.Errorf("read its point: %w", err)
	}
	return public, nil
}

func (j jwk) rsa() (*rsa.PublicKey, error) {
	n, err := member("n", j.N)
	if err != nil {
		return nil, err
	}
	e, err := member("e", j.E)
	if err != nil {
		return nil, err
	}
	if len(e) > 4 || len(n) > maxRSABits/8+1 {
		return nil, errors.New("its modulus or exponent is too long")
	}
	exponent := int(new(big.Int).SetBytes(e).Int64())
	return &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: exponent}, nil
}

// member decodes a base64url member, which must be there.
func member(name, text string) ([]byte, error) {
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(b) == 0 {
		return nil, fmt.Errorf("its member %s is missing or not base64url", name)
	}
	return b, nil
}
