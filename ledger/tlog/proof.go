package tlog

import (
	"crypto/sha256"
	"fmt"
	"math"
	"math/bits"

	sumdb "golang.org/x/mod/sumdb/tlog"

	"github.com/watchward/watchward/crypto"
)

// LeafHash returns the RFC 6962 §2.1 hash of an entry.
func LeafHash(entry []byte) crypto.Hash { return crypto.LeafHash(entry) }

// EmptyRoot returns the root of a log without entries.
func EmptyRoot() crypto.Hash { return sha256.Sum256(nil) }

// TileRoot returns the hash over hashes of a tile, which for a full tile is the one that
// stands in the tile above. The length must be 32 bytes times a power of two, ≤ 256.
func TileRoot(tile []byte) (crypto.Hash, error) {
	width := len(tile) / hashBytes
	if len(tile)%hashBytes != 0 || bits.OnesCount(uint(width)) != 1 || width > TileWidth {
		return crypto.Hash{}, fmt.Errorf("a tile of %d bytes has no root: want a power of two of hashes, ≤ %d", len(tile), TileWidth)
	}
	if width == TileWidth { // to sumdb this one belongs to the tile above
		left, err := TileRoot(tile[:TileBytes/2])
		if err != nil {
			return left, err
		}
		right, err := TileRoot(tile[TileBytes/2:])
		return crypto.Hash(sumdb.NodeHash(sumdb.Hash(left), sumdb.Hash(right))), err
	}
	at := sumdb.StoredHashIndex(bits.Len(uint(width))-1, 0)
	root, err := sumdb.HashFromTile(sumdb.Tile{H: 8, W: width}, tile, at)
	return crypto.Hash(root), err
}

// VerifyInclusion returns nil only if path proves that the log of size entries with the
// root has an entry with the leaf hash at index.
func VerifyInclusion(index, size uint64, leaf crypto.Hash, path []crypto.Hash, root crypto.Hash) error {
	if index >= size || size > math.MaxInt {
		return fmt.Errorf("proof for entry %d of a log of %d entries", index, size)
	}
	return crypto.CheckProof(path, int(size), int(index), root, leaf)
}

// VerifyConsistency returns nil only if proof shows that the log of a entries with rootA
// is the beginning of that of b entries with rootB. Every log begins with no entries, and
// that needs no proof.
func VerifyConsistency(a, b uint64, rootA, rootB crypto.Hash, proof []crypto.Hash) error {
	if a > b || b > math.MaxInt64 {
		return fmt.Errorf("a log of %d entries is not the beginning of one of %d", a, b)
	}
	if a == 0 {
		if len(proof) != 0 || rootA != EmptyRoot() || b == 0 && rootB != rootA {
			return fmt.Errorf("consistency of no entries with %d does not verify", b)
		}
		return nil
	}
	p := make(sumdb.TreeProof, len(proof))
	for i, h := range proof {
		p[i] = sumdb.Hash(h)
	}
	if err := sumdb.CheckTree(p, int64(b), sumdb.Hash(rootB), int64(a), sumdb.Hash(rootA)); err != nil {
		return fmt.Errorf("consistency of %d entries with %d does not verify: %w", a, b, err)
	}
	return nil
}

// RootFromEdge returns the root of a log of size entries from its edge: the roots of the
// full subtrees that make up the log, from the largest on the left to the smallest.
// There are as many as size has bits set.
func RootFromEdge(size uint64, edge []crypto.Hash) (crypto.Hash, error) {
	if n := bits.OnesCount64(size); n != len(edge) {
		return crypto.Hash{}, fmt.Errorf("the edge of a log of %d entries has %d hashes: want %d", size, len(edge), n)
	}
	if size == 0 {
		return EmptyRoot(), nil
	}
	root := edge[len(edge)-1]
	for i := len(edge) - 2; i >= 0; i-- {
		root = crypto.Hash(sumdb.NodeHash(sumdb.Hash(edge[i]), sumdb.Hash(root)))
	}
	return root, nil
}

// edgeIndexes returns where the hashes of the edge stand in the numbering of sumdb.
func edgeIndexes(size uint64) []int64 {
	var out []int64
	for rest := size; rest > 0; {
		level := bits.Len64(rest) - 1
		out = append(out, sumdb.StoredHashIndex(level, int64(size>>level)-1))
		rest &^= 1 << level
	}
	return out
}
