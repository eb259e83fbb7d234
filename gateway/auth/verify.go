package auth

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"kith/actors/entity"
)

// MaxTokenBytes bounds a token. 8 KiB: what proxies allow a header, and more
// than any token that only says who somebody is.
const MaxTokenBytes = 8 << 10

// maxKidBytes bounds the id of a key. 256: thumbprints have 43, URLs fit.
const maxKidBytes = 256

// maxUnixSeconds is the end of the year 9999, the last that time can print.
const maxUnixSeconds = 253402300799

// ErrExpired is what Verify returns for a token that was valid once; a client is
// to fetch a new one and try again. Compare with == or errors.Is.
var ErrExpired = entity.Errorf(entity.Unauthorized, "the token has expired")

// A Tenant is what a Verifier knows of one.
type Tenant struct {
	Name     string        // as in the token's claim "tenant"
	Number   entity.Tenant // as in the names of entities
	Audience string        // the token must have it in "aud"; empty: "aud" is not looked at
	Keys     []Key         // at least one
	Policy   *entity.Policy
}

// A Verifier checks tokens. It is immutable and safe for concurrent use.
type Verifier struct {
	tenants map[string]*Tenant
	only    *Tenant // the tenant of tokens that name none; nil if there are several
	now     func() time.Time
	parser  *jwt.Parser
}

// NewVerifier returns a Verifier for the tokens of tenants at the time that now
// tells.
func NewVerifier(tenants []Tenant, now func() time.Time) (*Verifier, error) {
	v := &Verifier{
		tenants: make(map[string]*Tenant, len(tenants)),
		now:     now,
		parser: jwt.NewParser(
			jwt.WithValidMethods([]string{EdDSA, HS256, RS256, ES256}),
			jwt.WithStrictDecoding(),
			jwt.WithoutClaimsValidation(), // They are checked here, each with a sentence of its own.
		),
	}
	for _, t := range tenants {
		if _, twice := v.tenants[t.Name]; twice {
			return nil, fmt.Errorf("tenant %q is there twice", t.Name)
		}
		if err := checkKeys(t.Keys); err != nil {
			return nil, fmt.Errorf("tenant %q: %w", t.Name, err)
		}
		v.tenants[t.Name] = &t
		v.only = &t
	}
	if len(tenants) != 1 {
		v.only = nil
	}
	return v, nil
}

// checkKeys refuses a set of keys in which a token could mean two of them.
func checkKeys(keys []Key) error {
	if len(keys) == 0 {
		return errors.New("it has no key to check tokens with")
	}
	for i, k := range keys {
		if err := k.check(); err != nil {
			return err
		}
		for _, other := range keys[:i] {
			if other.ID == k.ID && (k.ID != "" || other.Algorithm == k.Algorithm) {
				return fmt.Errorf("two of its keys have the key id %q (%s and %s)", k.ID, other.Algorithm, k.Algorithm)
			}
		}
	}
	return nil
}

// Verify returns whom the token speaks for, and when it expires. It refuses with
// Unauthorized and a sentence that says what is wrong and repeats nothing of the
// token; an expired one with ErrExpired.
func (v *Verifier) Verify(token string) (entity.Caller, time.Time, *entity.Error) {
	t, err := v.verify(token)
	return t.caller, t.expires, err
}

// verified is what a valid token proved.
type verified struct {
	caller  entity.Caller
	expires time.Time
	until   time.Time // when it is refused: the tenant's leeway after it expires
}

func (v *Verifier) verify(token string) (verified, *entity.Error) {
	if token == "" {
		return verified{}, unauthorized("there is no token")
	}
	if len(token) > MaxTokenBytes {
		return verified{}, unauthorized("the token is longer than %d bytes", MaxTokenBytes)
	}
	// The decoder of base64 passes over line ends; a token has none.
	if strings.ContainsAny(token, "\r\n") {
		return verified{}, unauthorized("the token is not a JWT")
	}
	claims := jwt.MapClaims{}
	var tenant *Tenant
	_, err := v.parser.ParseWithClaims(token, claims, func(t *jwt.Token) (any, error) {
		var err error
		if tenant, err = v.tenant(claims); err != nil {
			return nil, err
		}
		return tenant.key(t)
	})
	if err != nil {
		return verified{}, refusal(err)
	}
	expires, refused := tenant.checkTimes(claims, v.now())
	if refused != nil {
		return verified{}, refused
	}
	caller, refused := tenant.caller(claims)
	if refused != nil {
		return verified{}, refused
	}
	return verified{caller, expires, expires.Add(tenant.Policy.TokenLeeway)}, nil
}

func unauthorized(format string, args ...any) *entity.Error {
	return entity.Errorf(entity.Unauthorized, format, args...)
}

// refusal says in a sentence what the parser found. The parser's own text may
// quote the token, so it goes nowhere.
func refusal(err error) *entity.Error {
	var ours *entity.Error
	switch {
	case errors.As(err, &ours):
		return ours
	case errors.Is(err, jwt.ErrTokenMalformed):
		return unauthorized("the token is not a JWT")
	case errors.Is(err, jwt.ErrTokenUnverifiable):
		return unauthorized("the token's algorithm is not one of EdDSA, ES256, RS256 and HS256")
	default:
		return unauthorized("the token's signature is not valid")
	}
}

// tenant is the one that the token claims to be of. The claim is not verified
// yet: it only decides whose keys must verify it.
func (v *Verifier) tenant(claims jwt.MapClaims) (*Tenant, error) {
	name, ok, err := text(claims, "tenant")
	switch {
	case err != nil:
		return nil, err
	case !ok && v.only == nil:
		return nil, unauthorized("the token names no tenant, and there are several")
	case !ok:
		return v.only, nil
	}
	if t := v.tenants[name]; t != nil {
		return t, nil
	}
	return nil, unauthorized("the token's tenant is not one of this server")
}

// key is the key of t that must verify the token: the one with the token's key
// id, or else the one without an id that has the token's algorithm.
func (t *Tenant) key(token *jwt.Token) (any, error) {
	if _, ok := token.Header["crit"]; ok {
		return nil, unauthorized("the token demands extensions that this server does not know")
	}
	algorithm := token.Method.Alg()
	kid, named := token.Header["kid"]
	id, isText := kid.(string)
	if named && (!isText || id == "" || len(id) > maxKidBytes) {
		return nil, unauthorized("the token's key id is not 1 to %d bytes of text", maxKidBytes)
	}
	if named {
		if i := slices.IndexFunc(t.Keys, func(k Key) bool { return k.ID == id }); i >= 0 {
			if t.Keys[i].Algorithm != algorithm {
				return nil, unauthorized("the token's algorithm is not that of its key")
			}
			return t.Keys[i].material, nil
		}
	}
	fits := func(k Key) bool { return k.Algorithm == algorithm && (k.ID == "" || !named && t.single(algorithm)) }
	if i := slices.IndexFunc(t.Keys, fits); i >= 0 {
		return t.Keys[i].material, nil
	}
	if named {
		return nil, unauthorized("the token's key is not one of its tenant's")
	}
	return nil, unauthorized("its tenant has no key for the token's algorithm, or several and the token names none")
}

// single reports whether t has exactly one key for algorithm.
func (t *Tenant) single(algorithm string) bool {
	n := 0
	for _, k := range t.Keys {
		if k.Algorithm == algorithm {
			n++
		}
	}
	return n == 1
}

// checkTimes returns when a token expires, if it is valid at now.
func (t *Tenant) checkTimes(claims jwt.MapClaims, now time.Time) (time.Time, *entity.Error) {
	expires, ok, err := instant(claims, "exp")
	switch {
	case err != nil:
		return expires, err
	case !ok:
		return expires, unauthorized("the token never expires; it must (claim exp)")
	case !now.Before(expires.Add(t.Policy.TokenLeeway)):
		return expires, ErrExpired
	case expires.Sub(now) > t.Policy.TokenMaxLife+t.Policy.TokenLeeway:
		return expires, unauthorized("the token is valid for longer than its tenant allows (%v)", t.Policy.TokenMaxLife)
	}
	for _, claim := range []string{"nbf", "iat"} {
		from, ok, err := instant(claims, claim)
		if err != nil {
			return expires, err
		}
		if ok && from.After(now.Add(t.Policy.TokenLeeway)) {
			return expires, unauthorized("the token is not valid yet (claim %s)", claim)
		}
	}
	return expires, nil
}

// caller is whom a verified token speaks for.
func (t *Tenant) caller(claims jwt.MapClaims) (entity.Caller, *entity.Error) {
	var none entity.Caller
	if t.Audience != "" && !hasAudience(claims["aud"], t.Audience) {
		return none, unauthorized("the token is for another audience")
	}
	user, _, err := text(claims, "sub")
	if err != nil {
		return none, err
	}
	if !entity.ValidUserID(user) {
		return none, unauthorized("the token's claim sub is missing or not a user id: %s", entity.UserIDRule)
	}
	device, _, err := text(claims, "device")
	if err != nil {
		return none, err
	}
	if !entity.ValidDevice(device) {
		return none, unauthorized("the token's claim device is missing or not a device: %s", entity.DeviceRule)
	}

	return entity.Caller{Tenant: t.Number, User: user, Number: entity.UserNumber(t.Number, user), Device: device}, nil
}

// hasAudience reports whether a claim "aud", a text or a list of them, has want.
func hasAudience(aud any, want string) bool {
	switch aud := aud.(type) {
	case string:
		return aud == want
	case []any:
		return slices.Contains(aud, any(want))
	default:
		return false
	}
}

// text is a claim that must be text if it is there.
func text(claims jwt.MapClaims, name string) (string, bool, *entity.Error) {
	c, ok := claims[name]
	if !ok {
		return "", false, nil
	}
	s, ok := c.(string)
	if !ok {
		return "", false, unauthorized("the token's claim %s is not text", name)
	}
	return s, true, nil
}

// instant is a claim that must be Unix seconds if it is there.
func instant(claims jwt.MapClaims, name string) (time.Time, bool, *entity.Error) {
	c, ok := claims[name]
	if !ok {
		return time.Time{}, false, nil
	}
	s, ok := c.(float64)
	if !ok || s < 0 || s > maxUnixSeconds {
		return time.Time{}, false, unauthorized("the token's claim %s is not a time in Unix seconds", name)
	}
	whole, part := math.Modf(s)
	return time.Unix(int64(whole), int64(part*1e9)), true, nil
}
