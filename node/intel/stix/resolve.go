package stix

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/watchward/watchward/node/intel"
	"github.com/watchward/watchward/node/notice"
)

// A resolver turns the objects of a whole file into results. It follows each
// reference one step and no further, so that cycles lead nowhere.
type resolver struct {
	*reader
	yield     func(intel.Found) error
	indicates map[string][]*object // by indicator, what it indicates
	vouched   map[string]*object   // by observable, the attackers' infrastructure it is part of
	seen      map[string]bool      // observables that a sighting speaks of
	victims   map[string]bool      // addresses that mail went to
	patterns  map[*object]claim    // of indicators, read once
	apart     int                  // patterns that match several values at once
}

const tooMany = "the references of the file lead to too much: split the file"

// follow reports whether n more values may be looked at.
func (r *resolver) follow(n int) bool {
	r.follows -= n
	return r.follows >= 0
}

func resolve(in *reader, yield func(intel.Found) error) error {
	r := &resolver{
		reader: in, yield: yield, indicates: map[string][]*object{}, vouched: map[string]*object{},
		seen: map[string]bool{}, victims: map[string]bool{}, patterns: map[*object]claim{},
	}
	for range 2 { // a report may be part of another
		for _, o := range in.objects {
			if o.holdsRefs() {
				in.include(o)
			}
		}
	}
	for _, o := range in.objects {
		r.connect(o)
	}
	for _, o := range in.objects {
		var err error
		switch o.kind {
		case "indicator":
			err = r.indicator(o)
		case "sighting":
			err = r.sighting(o)
		case "opinion":
			err = r.opinion(o)
		case "":
			err = r.refuse(o, "", "%s", o.bad)
		case "observed-data":
		default:
			err = r.observable(o)
		}
		if err != nil {
			return err
		}
	}
	if r.apart > 0 && in.options.Apart != nil {
		in.options.Apart(r.apart)
	}
	return nil
}

// include gives the marking of a report to what it refers to.
func (in *reader) include(o *object) {
	m := in.marking(o)
	switch {
	case m == marking{}:
		return
	case len(o.refs) >= refsMax: // not all are known
		in.all = in.all.and(m)
	}
	for _, ref := range o.refs {
		in.within[ref] = in.within[ref].and(m)
	}
}

// connect notes what an object says of others.
func (r *resolver) connect(o *object) {
	switch o.kind {
	case "relationship":
		if o.revoked {
			return
		}
		for _, ref := range o.refs {
			target, source := r.find(ref), r.find(o.about)
			switch {
			case target == nil || source == nil:
			case o.word == "indicates" && len(r.indicates[o.about]) < refsMax:
				r.indicates[o.about] = append(r.indicates[o.about], target)
			case o.word == "consists-of" && source.attackers && !source.revoked:
				r.vouched[ref] = source
			}
		}
	case "sighting":
		for _, ref := range o.refs {
			if data := r.find(ref); data != nil {
				for _, ref := range data.refs {
					r.seen[ref] = true
				}
			}
		}
	case "email-message":
		for _, ref := range o.refs {
			r.victims[ref] = true
		}
	}
}

func (r *resolver) refuse(o *object, value, format string, args ...any) error {
	return r.yield(r.refusal(o, value, fmt.Sprintf(format, args...)))
}

func (r *resolver) refusal(o *object, value, reason string) intel.Found {
	return intel.Found{Place: o.at(), Object: o.id, TLP: r.tlp(o), Value: intel.Show(value), Reason: reason}
}

// A claim is an indicator's pattern, or why nothing of it can be taken.
type claim struct {
	pattern
	why string
}

// claims returns what an indicator says.
func (r *resolver) claims(o *object) (pattern, string) {
	c, ok := r.patterns[o]
	if !ok {
		c.pattern, c.why = claimOf(o)
		r.patterns[o] = c
	}
	if c.why == "" && !r.follow(len(c.values)) {
		return pattern{}, tooMany
	}
	return c.pattern, c.why
}

func claimOf(o *object) (pattern, string) {
	switch {
	case o.bad != "":
		return pattern{}, o.bad
	case o.id == "":
		return pattern{}, "it has no id, so it could never be taken back"
	case o.word != "" && o.word != "stix":
		return pattern{}, "a pattern of the language " + intel.Show(o.word) + ": only STIX patterns are read"
	case o.benign:
		return pattern{}, "its author calls it benign"
	case o.text == "":
		return pattern{}, "it has no pattern"
	}
	p, err := parsePattern(o.text)
	switch {
	case err != nil:
		return pattern{}, err.Error()
	case len(p.values) == 0:
		return pattern{}, "nothing in the pattern can be taken: " + p.left
	}
	return p, ""
}

func (r *resolver) indicator(o *object) error {
	if o.own != nil && o.own.carrier {
		return nil // there for what refers to it
	}
	p, why := r.claims(o)
	switch {
	case why != "":
	case o.until != 0 && o.until <= o.first:
		why = "valid_until is not after valid_from"
	}
	if why != "" {
		return r.refuse(o, o.text, "%s", why)
	}
	if p.together && len(p.values) > 1 {
		r.apart++
	}
	n := notice.Notice{Kind: notice.KindIndicator, FirstSeen: o.first, ValidUntil: o.until, Context: r.context(o, r.tlp(o))}
	if o.own != nil { // it says when, and not only since when
		n.FirstSeen, n.LastSeen = o.own.first, o.own.last
	}
	return r.state(o, p.values, n, r.marking(o))
}

// state yields a notice for each value.
func (r *resolver) state(o *object, values []observed, n notice.Notice, m marking) error {
	n.Origin = r.origin(o, m.tlp)
	if n.LastSeen != 0 && n.LastSeen < n.FirstSeen {
		return r.refuse(o, "", "last_seen is before first_seen")
	}
	if n.FirstSeen == 0 {
		n.FirstSeen = n.LastSeen
	}
	done := make(map[notice.Indicator]bool, len(values))
	for _, v := range values {
		indicator, err := v.canonical(r.options.Indicator)
		if err != nil {
			if err := r.refuse(o, v.text, "%s", intel.Reason(err)); err != nil {
				return err
			}
			continue
		}
		if done[indicator] {
			continue
		}
		done[indicator] = true
		one := n
		one.Indicator = &indicator
		found := intel.Found{Place: o.at(), Object: o.id, Notice: &one, TLP: notice.Stricter(m.tlp, n.Origin.TLP), Unclear: m.unclear, Value: intel.Show(v.text), Withdrawn: o.revoked}
		if o.own != nil && len(values) == 1 { // a notice has one value
			found.Item = o.own.item
		}
		if err := r.yield(found); err != nil {
			return err
		}
	}
	return nil
}

// origin says who stated an object. Ours says where it had it from.
func (r *resolver) origin(o *object, tlp notice.TLP) *notice.Origin {
	if o.own != nil && o.own.origin.Source != "" {
		origin := o.own.origin
		if notice.Printable(origin.Source+origin.ID) && strings.TrimSpace(origin.Source) == origin.Source && strings.TrimSpace(origin.ID) == origin.ID {
			return &origin
		}
	}
	source := "stix"
	for _, ref := range append(slices.Clone(o.others), o.by) { // where it was sighted, else who wrote it
		if who := r.find(ref); who != nil && (who.kind == "identity" || who.kind == "location") && who.name != "" &&
			len(who.name) <= nameMax && r.tlp(who) <= max(tlp, notice.TLPClear) {
			source += ":" + who.name
			break
		}
	}
	return &notice.Origin{Source: source, ID: o.id, TLP: tlp}
}

// context is what an indicator indicates, as far as that may be said under its
// marking, and as far as it is one of each kind.
func (r *resolver) context(o *object, tlp notice.TLP) *notice.Context {
	targets := r.indicates[o.id]
	if !r.follow(len(targets)) {
		return nil
	}
	return contextOf(slices.DeleteFunc(slices.Clone(targets), func(target *object) bool {
		m := r.marking(target)
		return target.revoked || m.unclear != "" || m.tlp > max(tlp, notice.TLPClear)
	}))
}

func contextOf(targets []*object) *notice.Context {
	var family, tool, technique, cve []string
	for _, t := range targets {
		add(&family, t.name, t.kind == "malware")
		add(&tool, t.name, t.kind == "tool")
		add(&technique, t.external.technique, t.kind == "attack-pattern" && notice.IsTechnique(t.external.technique))
		add(&cve, t.external.cve, t.kind == "vulnerability" && notice.IsCVE(t.external.cve))
	}
	c := notice.Context{Family: only(family), Tool: only(tool), Technique: only(technique), CVE: only(cve)}
	if c == (notice.Context{}) {
		return nil
	}
	return &c
}

// add keeps up to two different names: two are as good as more.
func add(to *[]string, name string, wanted bool) {
	if wanted && name != "" && len(*to) < 2 && !slices.ContainsFunc(*to, func(s string) bool { return strings.EqualFold(s, name) }) {
		*to = append(*to, name)
	}
}

// only returns what is there once.
func only(names []string) string {
	if len(names) == 1 {
		return names[0]
	}
	return ""
}

func (r *resolver) sighting(o *object) error {
	values, n, m, why := r.sighted(o)
	if why != "" {
		return r.refuse(o, "", "%s", why)
	}
	return r.state(o, values, n, m)
}

// sighted returns what a sighting saw and what it says of it, or why nothing
// can be taken.
func (r *resolver) sighted(o *object) (values []observed, n notice.Notice, m marking, why string) {
	about := r.find(o.about)
	switch {
	case o.bad != "":
		why = o.bad
	case o.id == "":
		why = "it has no id, so it could never be taken back"
	case o.count == 0:
		why = "its count is 0: it was not seen"
	case about == nil:
		why = "it sights " + intel.Show(o.about) + ", which the file does not hold: export both together"
	}
	if why != "" {
		return nil, n, m, why
	}
	m = r.marking(o).and(r.marking(about))
	saw, n, ok := r.evidence(o, &m)
	switch {
	case !ok:
		return nil, n, m, tooMany
	case about.kind != "indicator" && len(saw) == 0:
		return nil, n, m, "it sights " + intel.Show(o.about) + " and no value"
	case about.kind != "indicator":
		n.Context = contextOf([]*object{about})
		return saw, n, m, ""
	}
	p, why := r.claims(about)
	if why != "" {
		return nil, n, m, "it sights " + about.id + ": " + why
	}
	n.Context = r.context(about, m.tlp)
	both := r.both(p.values, saw)
	switch {
	case len(both) > 0:
		return both, n, m, ""
	case p.alternatives && (len(p.values) > 1 || p.left != ""):
		return nil, n, m, "it does not say which of the pattern's alternatives was seen: give it observed data"
	}
	return p.values, n, m, ""
}

// evidence returns the values of a sighting's observed data, and when and how
// often they were seen, which the sighting knows best. It is not ok if it is too
// much.
func (r *resolver) evidence(o *object, m *marking) (saw []observed, n notice.Notice, ok bool) {
	count := max(o.count, 1)
	n = notice.Notice{Kind: notice.KindSighting, FirstSeen: o.first, LastSeen: o.last}
	for _, ref := range o.refs {
		data := r.find(ref)
		if data == nil || data.kind != "observed-data" {
			continue
		}
		if !r.follow(1 + len(data.refs) + len(data.values)) {
			return nil, n, false
		}
		if saw = append(saw, r.observedBy(data, m)...); n.FirstSeen == 0 && n.LastSeen == 0 {
			n.FirstSeen, n.LastSeen = data.first, data.last
		}
		if o.count < 0 {
			count = max(count, data.count)
		}
	}
	n.Count = uint64(count)
	if n.LastSeen == 0 {
		n.LastSeen = cmp.Or(n.FirstSeen, o.created)
	}
	return saw, n, true
}

// observedBy returns the values that observed data holds, victims' apart.
func (r *resolver) observedBy(data *object, m *marking) []observed {
	*m = m.and(r.marking(data))
	values := slices.Clone(data.values)
	for _, ref := range data.refs {
		if o := r.find(ref); o != nil && !r.victims[ref] && o.bad == "" && len(values) < refsMax {
			*m = m.and(r.marking(o))
			values = append(values, o.values...)
		}
	}
	return values
}

// both returns the values of a pattern that were observed.
func (r *resolver) both(claimed, saw []observed) (out []observed) {
	if len(saw) == 0 {
		return nil
	}
	present := map[notice.Indicator]bool{}
	for _, v := range saw {
		if i, err := v.canonical(notice.Options{AllowSpecial: true}); err == nil {
			present[i] = true
		}
	}
	for _, v := range claimed {
		if i, err := v.canonical(notice.Options{AllowSpecial: true}); err == nil && present[i] {
			out = append(out, v)
		}
	}
	return out
}

// opinion makes disputes of one that disagrees.
func (r *resolver) opinion(o *object) error {
	if o.bad != "" {
		return r.refuse(o, "", "%s", o.bad)
	}
	if o.word != "disagree" && o.word != "strongly-disagree" {
		return nil
	}
	for _, ref := range o.refs {
		about := r.find(ref)
		var values []observed
		var why string
		m := r.marking(o)
		switch {
		case about == nil:
			why = "the file does not hold " + intel.Show(ref) + ", of which it speaks: export both together"
		case about.kind == "indicator":
			var p pattern
			p, why = r.claims(about)
			values, m = p.values, m.and(r.marking(about))
		case about.kind == "sighting":
			var of marking
			values, _, of, why = r.sighted(about)
			m = m.and(of)
		default:
			why = "it speaks of " + intel.Show(ref) + ", and only indicators and sightings can be disputed"
		}
		var err error
		if why != "" {
			err = r.refuse(o, ref, "%s", why)
		} else {
			err = r.state(o, values, notice.Notice{Kind: notice.KindDispute, Reason: o.text}, m)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// observable takes an observable that is known bad, and refuses another.
func (r *resolver) observable(o *object) error {
	if len(o.values) == 0 {
		return nil
	}
	by := r.vouched[o.id]
	why, skipped := "", false
	switch {
	case r.victims[o.id]:
		why = "a recipient is a victim: addresses of victims are not shared"
	case o.bad != "":
		why = o.bad
	case by == nil && r.seen[o.id]:
		return nil // its sighting says what there is to say
	case by == nil && !r.options.Observables:
		why, skipped = "an observable by itself is not known bad: --all takes it all the same", true
	}
	if why != "" {
		for _, v := range o.values {
			f := r.refusal(o, v.text, why)
			f.Skipped = skipped
			if err := r.yield(f); err != nil {
				return err
			}
		}
		return nil
	}
	m := r.marking(o)
	if by != nil {
		m = m.and(r.marking(by))
		source := *o
		source.by, source.own = by.by, nil
		o = &source
	}
	return r.state(o, o.values, notice.Notice{Kind: notice.KindIndicator}, m)
}
