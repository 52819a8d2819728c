package notice

// Said describes every field of an item, by key.
var Said = said
