package situation

// Held returns how many sightings are held, once a subject.
func (p *Picture) Held() int { return p.spread.count }

// Words returns how many notices that are not sightings are held.
func (p *Picture) Words() int { return len(p.byID) }
