package httpapi

import (
	"kith/actors/entity"
	"kith/gateway/limit"
)

// limited lets a user call as often as his tenant's policy says, sockets included.
func (d *Door) limited(next step) step {
	return func(x *exchange) *problem {
		p := d.policy(x.caller.Tenant)
		if p == nil {
			return refuse(entity.Unauthorized, "this server does not serve the token's tenant")
		}
		wait := d.requests.Take(limit.UserOf(x.caller), p, d.now())
		if wait == 0 {
			return next(x)
		}
		refusal := refuse(entity.Exhausted, "these are too many requests; there may be %d in a minute", p.RequestsPerMinute)
		refusal.Limit, refusal.retryAfter = p.RequestsPerMinute, wait
		return refusal
	}
}
