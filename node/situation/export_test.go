package situation

// Held returns how many sightings are held, once a subject.
func (p *Picture) Held() int { return p.spread.count }

// Keys are rows that are found by an index.
type Keys struct {
	rows  rows[[2]byte]
	index *index
}

func NewKeys() *Keys {
	k := &Keys{}
	k.index = newIndex(func(row uint32) []byte { return k.rows.at(row)[:] })
	return k
}

func (k *Keys) Find(key [2]byte) uint32 { return k.index.find(key[:]) }

func (k *Keys) Add(key [2]byte) uint32 {
	row := k.rows.add(key)
	k.index.set(row)
	return row
}

func (k *Keys) Drop(key [2]byte) {
	row := k.Find(key)
	k.index.drop(key[:])
	if row != 0 {
		k.rows.drop(row)
	}
}

// Words returns how many notices that are not sightings are held.
func (p *Picture) Words() int { return len(p.byID) }
