package situation

// Held returns how many sightings are held, once a subject.
func (p *Picture) Held() int { return p.spread.count }
