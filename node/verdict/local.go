package verdict

import (
	"net/netip"
	"slices"

	"github.com/watchward/watchward/node/notice"
)

// decideLocally takes in what this house allows and denies.
func (j *Judge) decideLocally(allow, deny []notice.Indicator) {
	j.local = make(map[notice.Indicator]bool, len(allow)+len(deny))
	j.networks = map[netip.Prefix]bool{}
	add := func(i notice.Indicator, allowed bool) {
		j.local[i] = allowed
		if i.Type == notice.TypeCIDR {
			if p, err := netip.ParsePrefix(i.Value); err == nil {
				j.networks[p] = true
			}
		}
	}
	for _, i := range deny {
		add(i, false)
	}
	for _, i := range allow {
		add(i, true)
		j.allowed.protect(i, guarded{cause: CauseAllowed, value: i.Value})
	}
}

// decided returns what was allowed or denied here that says most precisely what to
// do about a value: it, what it matches, or its host.
func (j *Judge) decided(value notice.Indicator) (by notice.Indicator, allowed, ok bool) {
	if len(j.local) == 0 {
		return by, false, false
	}
	here := func(p netip.Prefix) bool { return j.networks[p] }
	for i := range value.MatchesIn(here) {
		if allowed, ok = j.local[i]; ok {
			return i, allowed, true
		}
	}
	if host, isPart := value.Host(); isPart {
		return j.decided(host)
	}
	return by, false, false
}

// overrule applies what was decided here. A person's word about a value goes before
// members' and lists', and never before the never-block list.
func (j *Judge) overrule(value notice.Indicator, v Verdict) Verdict {
	by, allowed, ok := j.decided(value)
	switch {
	case !ok:
		return v
	case allowed:
		v.Level, v.Expires = None, 0
		v.Reasons = append(v.Reasons, Reason{Cause: CauseAllowed, Text: by.Value + " is allowed here"})
		return v
	}
	v.Level, v.Expires, v.Guarded, v.Listed = Block, 0, false, false
	v.Reasons = slices.DeleteFunc(v.Reasons, func(r Reason) bool { return guards[r.Cause] })
	v.Reasons = slices.Insert(v.Reasons, 0, Reason{Cause: CauseDenied, Raised: true, Text: by.Value + " is denied here"})
	if g, hit := j.neverBlocked(value, by); hit {
		v.Level, v.Guarded = g.cap, true
		v.Reasons = append(v.Reasons, g.reason())
	}
	return v
}

// guards are the causes of guardrails.
var guards = map[Cause]bool{CauseSpecial: true, CauseOwn: true, CauseSupplier: true, CauseClinical: true, CauseWarninglist: true, CauseAllowed: true}
