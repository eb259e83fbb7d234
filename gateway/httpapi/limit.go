package httpapi

import (
	"time"

	"kith/actors/entity"
)

// maxBuckets bounds the users whose rate is remembered. 32,768, about 3 MB. Who is
// forgotten has not been here for as many other users, and starts with a full
// bucket.
const maxBuckets = 1 << 15

// user names a user for the tables of this door.
type user struct {
	tenant entity.Tenant
	number uint64
}

// limiter holds each user to his tenant's rate with a token bucket. All it keeps
// of a bucket is when it will be full again.
type limiter struct {
	full *recent[user, time.Time]
}

func newLimiter() *limiter { return &limiter{newRecent[user, time.Time](maxBuckets)} }

// take takes a token out of a user's bucket. It returns zero, or how long it takes
// until there is one.
func (l *limiter) take(u user, p *entity.Policy, now time.Time) (wait time.Duration) {
	if p.RequestsPerMinute == 0 {
		return 0
	}
	each := time.Minute / time.Duration(p.RequestsPerMinute)
	room := each * time.Duration(max(1, p.RequestBurst)-1)
	l.full.update(u, func(full time.Time) time.Time {
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

// limited lets a user call as often as his tenant's policy says.
func (d *Door) limited(next step) step {
	return func(x *exchange) *problem {
		p := d.policy(x.caller.Tenant)
		if p == nil {
			return refuse(entity.Unauthorized, "this server does not serve the token's tenant")
		}
		wait := d.limiter.take(user{x.caller.Tenant, x.caller.Number}, p, d.now())
		if wait == 0 {
			return next(x)
		}
		refusal := refuse(entity.Exhausted, "these are too many requests; there may be %d in a minute", p.RequestsPerMinute)
		refusal.Limit, refusal.retryAfter = p.RequestsPerMinute, wait
		return refusal
	}
}
