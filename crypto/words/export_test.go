package words

// All returns the whole list in its order.
func All() []string {
	out := make([]string, listSize)
	for i := range out {
		out[i] = at(i)
	}
	return out
}
