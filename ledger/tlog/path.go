package tlog

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

const (
	// TileWidth is the number of hashes in a full tile and of entries in a full bundle.
	TileWidth = 256
	// TileBytes is the size of a full tile of hashes.
	TileBytes = TileWidth * hashBytes
	// LevelEntries stands for the level of entry bundles.
	LevelEntries = -1

	hashBytes = 32
	levelMax  = 63
	// Sizes fit into an int64, which the Merkle functions count in.
	indexMax = 1<<55 - 1
)

// ErrPath says that a path is none of C2SP tlog-tiles.
var ErrPath = errors.New("no path of tlog-tiles")

// A Path names a tile of hashes or an entry bundle, as c2sp.org/tlog-tiles does:
// "tile/0/x001/x234/067" is full, "tile/entries/000.p/5" has the first five.
type Path struct {
	Level int    // 0 to 63, or LevelEntries
	Index uint64 // within the level
	Width int    // 1 to 255 for a partial one, TileWidth for a full one
}

// String returns the only form of the path.
func (p Path) String() string {
	level := "entries"
	if p.Level != LevelEntries {
		level = strconv.Itoa(p.Level)
	}
	number := fmt.Sprintf("%03d", p.Index%1000)
	for n := p.Index / 1000; n > 0; n /= 1000 {
		number = fmt.Sprintf("x%03d/%s", n%1000, number)
	}
	s := "tile/" + level + "/" + number
	if p.Width != TileWidth {
		s += ".p/" + strconv.Itoa(p.Width)
	}
	return s
}

// full returns the path of the full tile.
func (p Path) full() Path { return Path{p.Level, p.Index, TileWidth} }

// span returns how many entries of the log are below one hash of the tile. Of the levels
// that no log reaches it is more than any has.
func (p Path) span() uint64 { return 1 << min(8*max(p.Level, 0), 63) }

// In returns how many hashes, or entries, the tile has in a log of size entries:
// 0 when it is not there yet, TileWidth when it is full.
func (p Path) In(size uint64) int {
	at, first := size/p.span(), p.Index*TileWidth
	if at <= first {
		return 0
	}
	return int(min(at-first, TileWidth))
}

// ParsePath reads a path strictly: there is one form for each tile, without a leading
// slash. The error wraps ErrPath.
func ParsePath(path string) (Path, error) {
	p, ok := parsePath(path)
	if !ok || p.String() != path {
		return Path{}, fmt.Errorf("%q is %w: want tile/LEVEL/N, tile/entries/N, or either with .p/WIDTH", shorten(path), ErrPath)
	}
	return p, nil
}

// parsePath reads what String writes, and some more.
func parsePath(path string) (Path, bool) {
	const longest = len("tile/entries/x036/x028/x797/x018/x963/967.p/255")
	p := Path{Level: LevelEntries, Width: TileWidth}
	rest, ok := strings.CutPrefix(path, "tile/")
	if !ok || len(path) > longest {
		return p, false
	}
	level, rest, ok := strings.Cut(rest, "/")
	if !ok {
		return p, false
	}
	if level != "entries" {
		n, err := strconv.ParseUint(level, 10, 8)
		if err != nil || n > levelMax {
			return p, false
		}
		p.Level = int(n)
	}
	if number, width, partial := strings.Cut(rest, ".p/"); partial {
		w, err := strconv.ParseUint(width, 10, 8)
		if err != nil || w == 0 {
			return p, false
		}
		p.Width, rest = int(w), number
	}
	for part := range strings.SplitSeq(rest, "/") {
		n, err := strconv.ParseUint(strings.TrimPrefix(part, "x"), 10, 16)
		if err != nil || n > 999 {
			return p, false
		}
		if p.Index = p.Index*1000 + n; p.Index > indexMax {
			return p, false
		}
	}
	return p, true
}

func shorten(s string) string {
	if len(s) > 64 {
		return s[:64] + "…"
	}
	return s
}
