package testkit

import (
	"testing"

	"github.com/watchward/watchward/crypto"
)

// Prove returns the RFC 6962 root over entries, and the path from the one at index to it.
func Prove(t testing.TB, entries [][]byte, index int) (root crypto.Hash, path []crypto.Hash) {
	t.Helper()
	leaves := make([]crypto.Hash, len(entries))
	for i, e := range entries {
		leaves[i] = crypto.LeafHash(e)
	}
	tree, err := crypto.NewTree(leaves)
	if err != nil {
		t.Fatal(err)
	}
	if root, err = tree.Root(); err != nil {
		t.Fatal(err)
	}
	if path, err = tree.Prove(index); err != nil {
		t.Fatal(err)
	}
	return root, path
}
