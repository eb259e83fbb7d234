package auth

import (
	"crypto/ed25519"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"kith/actors/entity"
)

// Claims is what a token says, for Mint and for people. Times are Unix seconds.
type Claims struct {
	User     string `json:"sub"`
	Tenant   string `json:"tenant"`
	Device   string `json:"device"`
	Audience string `json:"aud,omitempty"`
	IssuedAt int64  `json:"iat"`
	Expires  int64  `json:"exp"`
}

// Mint signs a token that says claims. Tokens for the users of a product are
// made by that product, which knows who they are; this one is for development.
func Mint(private ed25519.PrivateKey, c Claims) (string, error) {
	switch {
	case !entity.ValidUserID(c.User):
		return "", fmt.Errorf("%q is not a user id: %s", c.User, entity.UserIDRule)
	case !entity.ValidDevice(c.Device):
		return "", fmt.Errorf("%q is not a device: %s", c.Device, entity.DeviceRule)
	case c.Expires <= c.IssuedAt:
		return "", fmt.Errorf("the token would expire at %s, before it is issued", time.Unix(c.Expires, 0).UTC())
	}
	claims := jwt.MapClaims{"sub": c.User, "tenant": c.Tenant, "device": c.Device, "iat": c.IssuedAt, "exp": c.Expires}
	if c.Audience != "" {
		claims["aud"] = c.Audience
	}
	token, err := jwt.NewWithClaims(jwt.SigningMethodEdDSA, claims).SignedString(private)
	if err != nil {
		return "", fmt.Errorf("sign the token: %w", err)
	}
	return token, nil
}
