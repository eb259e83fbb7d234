package limit

import (
	"time"

	"kith/actors/entity"
)

// maxBuckets bounds the users whose rate is remembered. 32,768, about 3 MB. Who is
// forgotten has not been here for as many other users, and starts with a full
// bucket.
const maxBuckets = 1 << 15

// A User names a user of any tenant.
type User struct {
	Tenant entity.Tenant
	Number uint64
}

// UserOf names the user who calls.
func UserOf(c entity.Caller) User { return User{c.Tenant, c.Number} }

// Requests holds each user to his tenant's rate with a token bucket, however many
// connections he has and whichever door they came through. All it keeps of a
// bucket is when it will be full again. Safe for concurrent use.
type Requests struct {
	full *Recent[User, time.Time]
}

// NewRequests returns Requests of nobody yet.
func NewRequests() *Requests { return &Requests{NewRecent[User, time.Time](maxBuckets)} }

// Take takes a token out of a user's bucket. It returns zero, or how long it takes
// until there is one.
func (r *Requests) Take(u User, p *entity.Policy, now time.Time) (wait time.Duration) {
	if p.RequestsPerMinute == 0 {
		return 0
	}
	each := time.Minute / time.Duration(p.RequestsPerMinute)
	room := each * time.Duration(max(1, p.RequestBurst)-1)
	r.full.Update(u, func(full time.Time) time.Time {
		if full.Before(now) {
			full = now
		}
		if wait = full.Sub(now) - room; wait > 0 {
			return full
		}
		wait = 0
		return full.Add(each)
	})
	return wait
}
