package notice

// Said describes every field of an item, by key.
var Said = said

// DecodeBare is Decode whose faults are seen.
func DecodeBare(item []byte) (*Notice, error) { return decode(item) }

// Guard is what keeps a decoder's faults from stopping the node.
var Guard = guard
