package bench

var (
	Table = table
	Keep  = keep
)
