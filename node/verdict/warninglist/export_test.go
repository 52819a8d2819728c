package warninglist

import "io/fs"

// LoadUpTo is Load with another bound of entries.
func LoadUpTo(dir fs.FS, entries int) (*Set, []Problem, error) { return load(dir, entries) }
