package advisory

// Small returns a library with room for few.
func Small(max int) *Library {
	l := New()
	l.max = max
	return l
}

// Len is how many it has.
func (l *Library) Len() int { return len(l.byID) }

// Bytes is how much its filters take.
func (l *Library) Bytes() (n int) {
	for _, b := range l.byID {
		n += len(b.words) * 8
	}
	return n
}
