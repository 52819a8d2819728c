package keyfile

import (
	"os"
	"testing"

	"github.com/watchward/watchward/crypto"
)

// OnFileSystem makes every file lie on a file system that keeps no rights, until
// the test ends.
func OnFileSystem(t *testing.T, name string) {
	before := fileSystem
	fileSystem = func(*os.File) string { return name }
	t.Cleanup(func() { fileSystem = before })
}

// SaveAdmissionCheaply is SaveAdmission with scrypt made fast, so that tests
// take no second each.
func SaveAdmissionCheaply(path string, key *crypto.PrivateKey, passphrase []byte) error {
	return saveAdmission(path, key, passphrase, 4)
}

// Decoded is what a fuzzer may reach of the parser: whether data is an identity.
func Decoded(data []byte) bool {
	id := &Identity{}
	return decode(data, purposeIdentity, id.fields(make([]byte, crypto.SeedSize))) == nil
}

// Encoded is an identity's file.
func Encoded(id *Identity) []byte { return encode(purposeIdentity, id.fields(id.Signing.Seed())) }
