package crypto

import (
	"crypto/sha256"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"
)

// LeafHash returns the RFC 6962 §2.1 hash of a leaf: SHA-256(0x00 ‖ leaf).
func LeafHash(leaf []byte) Hash { return Hash(tlog.RecordHash(leaf)) }

// A Tree holds the hashes of an RFC 6962 Merkle tree over a list of leaves.
type Tree struct {
	size   int64
	stored hashList
}

type hashList []tlog.Hash

// ReadHashes implements tlog.HashReader.
func (l hashList) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, at := range indexes {
		if at < 0 || at >= int64(len(l)) {
			return nil, fmt.Errorf("hash %d is not in a tree of %d hashes", at, len(l))
		}
		out[i] = l[at]
	}
	return out, nil
}

// NewTree returns the tree whose leaves have the given hashes.
func NewTree(leaves []Hash) (*Tree, error) {
	t := &Tree{size: int64(len(leaves)), stored: make(hashList, 0, 2*len(leaves))}
	for i, leaf := range leaves {
		more, err := tlog.StoredHashesForRecordHash(int64(i), tlog.Hash(leaf), t.stored)
		if err != nil {
			return nil, fmt.Errorf("build tree: %w", err)
		}
		t.stored = append(t.stored, more...)
	}
	return t, nil
}

// Root returns the tree's root; that of no leaves is SHA-256 of nothing.
func (t *Tree) Root() (Hash, error) {
	if t.size == 0 {
		return Hash(sha256.Sum256(nil)), nil
	}
	root, err := tlog.TreeHash(t.size, t.stored)
	return Hash(root), err
}

// Prove returns the audit path (RFC 6962 §2.1.1) of the leaf at index.
func (t *Tree) Prove(index int) ([]Hash, error) {
	if index < 0 || int64(index) >= t.size {
		return nil, fmt.Errorf("leaf %d is not in a tree of %d leaves", index, t.size)
	}
	proof, err := tlog.ProveRecord(t.size, int64(index), t.stored)
	if err != nil {
		return nil, fmt.Errorf("prove leaf %d: %w", index, err)
	}
	out := make([]Hash, len(proof))
	for i, h := range proof {
		out[i] = Hash(h)
	}
	return out, nil
}

// CheckProof returns nil only if path proves that the tree of size leaves with
// the given root has leaf at index.
func CheckProof(path []Hash, size, index int, root, leaf Hash) error {
	if index < 0 || index >= size {
		return fmt.Errorf("proof for leaf %d of a tree of %d leaves", index, size)
	}
	proof := make(tlog.RecordProof, len(path))
	for i, h := range path {
		proof[i] = tlog.Hash(h)
	}
	if err := tlog.CheckRecord(proof, int64(size), tlog.Hash(root), int64(index), tlog.Hash(leaf)); err != nil {
		return fmt.Errorf("inclusion proof does not verify: %w", err)
	}
	return nil
}
