package auth

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// maxKeyFileBytes bounds what is read of a key file. 1 MiB: a JWKS of 100 large
// RSA keys has 150 KB.
const maxKeyFileBytes = 1 << 20

// privateType is the PEM type of a private key in PKCS #8.
const privateType = "PRIVATE KEY"

// others are the permissions of everybody but a file's owner.
const others fs.FileMode = 0o077

// OwnKeyPath is where the private key lies that the server made for a tenant.
func OwnKeyPath(data, tenant string) string {
	return filepath.Join(data, "keys", tenant+".key")
}

// MakeOwnKey makes a new private key at path, readable by its owner only, unless
// there is a file already. A power cut leaves the whole key or none.
func MakeOwnKey(path string) error {
	if _, err := os.Lstat(path); err == nil {
		return nil
	}
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return fmt.Errorf("make a key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return fmt.Errorf("encode a key: %w", err)
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the folder for keys: %w", err)
	}
	temporary, err := writeTemporary(dir, pem.EncodeToMemory(&pem.Block{Type: privateType, Bytes: der}))
	if err != nil {
		return fmt.Errorf("write a key: %w", err)
	}
	// Link, unlike Rename, never replaces a key that another process made since.
	err = os.Link(temporary, path)
	if errors.Is(err, fs.ErrExist) {
		err = nil
	}
	return errors.Join(err, os.Remove(temporary), syncDir(dir))
}

// writeTemporary writes b to a new file in dir, durably. The file has mode 0600,
// as os.CreateTemp makes them.
func writeTemporary(dir string, b []byte) (string, error) {
	f, err := os.CreateTemp(dir, ".new-*")
	if err != nil {
		return "", err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return "", errors.Join(err, os.Remove(f.Name()))
	}
	return f.Name(), nil
}

// syncDir makes the names in dir durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// ReadOwnKey reads a private key that MakeOwnKey wrote. It refuses one that
// others than its owner can read: they could have signed anything with it.
func ReadOwnKey(path string) (ed25519.PrivateKey, error) {
	text, err := readPrivate(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil || block.Type != privateType {
		return nil, fmt.Errorf("%s has no PEM block %q", path, privateType)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("read the key in %s: %w", path, err)
	}
	private, ok := key.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%s has a %T; an Ed25519 key is needed", path, key)
	}
	return private, nil
}

// ReadSecretKey reads a secret for HS256, which only its owner may be able to
// read.
func ReadSecretKey(path string) (Key, error) {
	text, err := readPrivate(path)
	if err != nil {
		return Key{}, err
	}
	key, err := SecretKey(text)
	return key, inFile(path, err)
}

// ReadPublicKey reads a public key in PEM for algorithm.
func ReadPublicKey(algorithm, path string) (Key, error) {
	text, _, err := readFile(path)
	if err != nil {
		return Key{}, err
	}
	key, err := PublicKey(algorithm, text)
	return key, inFile(path, err)
}

// ReadJWKS reads the keys of a JWKS file.
func ReadJWKS(path string) ([]Key, error) {
	text, _, err := readFile(path)
	if err != nil {
		return nil, err
	}
	keys, err := ParseJWKS(text)
	return keys, inFile(path, err)
}

// inFile says which file an error is about.
func inFile(path string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("key file %s: %w", path, err)
}

// readPrivate reads a file that only its owner may be able to read.
func readPrivate(path string) ([]byte, error) {
	text, mode, err := readFile(path)
	if err != nil {
		return nil, err
	}
	if mode.Perm()&others != 0 {
		return nil, fmt.Errorf("%s can be read by others than its owner (mode %04o), so its secret may be known: "+
			"make a new one, or run `chmod 600 %s` if you are sure that it is not", path, mode.Perm(), path)
	}
	return text, nil
}

// readFile reads a regular file of bounded size, and says its mode. Both are of
// the same open file, so nothing can be put in between.
func readFile(path string) (text []byte, mode fs.FileMode, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, fmt.Errorf("read a key: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return nil, 0, fmt.Errorf("read a key: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, 0, fmt.Errorf("%s is not a file", path)
	}
	text, err = io.ReadAll(io.LimitReader(f, maxKeyFileBytes+1))
	if err != nil {
		return nil, 0, fmt.Errorf("read a key: %w", err)
	}
	if len(text) > maxKeyFileBytes {
		return nil, 0, fmt.Errorf("%s is larger than %d bytes, so it is no key", path, maxKeyFileBytes)
	}
	return text, info.Mode(), nil
}
