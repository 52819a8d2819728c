package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/canon"
	"github.com/watchward/watchward/crypto/keyfile"
	"github.com/watchward/watchward/crypto/trust"
)

// Names of the files in a node's directory.
const (
	ConfigFile    = "config.toml"
	identityFile  = "identity.key"
	admissionFile = "admission.ww"
	RequestFile   = "request.ww"
)

// CredentialLife is how long a credential made here is valid.
const CredentialLife = 2 * 365 * 24 * time.Hour

const (
	admissionSizeMax = 1 << 20 // bytes: a charter, the region's dialable members and oneself
	seedsMax         = 64
)

// An Admission is what a new member is handed: the region it pins, the trust
// records that prove its own credential, and whom to dial first. It holds no
// secret. The field numbers are file format.
type Admission struct {
	Region  crypto.Region `cbor:"1,keyasint"`
	Records [][]byte      `cbor:"2,keyasint"`
	Seeds   []string      `cbor:"3,keyasint"` // multiaddresses that end in /p2p/ID
}

// ParseAdmission reads an admission and verifies every record in it.
func ParseAdmission(raw []byte) (*Admission, *trust.Roster, error) {
	if len(raw) > admissionSizeMax {
		return nil, nil, fmt.Errorf("admission has %d bytes: at most %d", len(raw), admissionSizeMax)
	}
	var a Admission
	if err := canon.Unmarshal(raw, &a); err != nil {
		return nil, nil, fmt.Errorf("this is no admission, or a damaged one: ask the coordinator for the file that watchward region admit wrote (%w)", err)
	}
	if len(a.Seeds) > seedsMax {
		return nil, nil, fmt.Errorf("admission names %d seeds: at most %d", len(a.Seeds), seedsMax)
	}
	roster, err := a.Roster()
	if err != nil {
		return nil, nil, fmt.Errorf("admission: %w", err)
	}
	return &a, roster, nil
}

// CreateRegion founds a region with one coordinator, who holds key, and makes the
// node in dir its first member. Of terms the name, the roles
// and what it says of the ledger count.
func CreateRegion(dir string, terms trust.Charter, key *crypto.PrivateKey, seeds []string, now time.Time) (crypto.Region, error) {
	if Joined(dir) {
		return crypto.Region{}, fmt.Errorf("%s belongs to a region already: make another directory with watchward init", dir)
	}
	path := filepath.Join(dir, RequestFile)
	request, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return crypto.Region{}, fmt.Errorf("%s is missing: make the node with watchward init first", path)
	}
	if err != nil {
		return crypto.Region{}, err
	}
	r, err := trust.ParseRequest(request)
	if err != nil {
		return crypto.Region{}, fmt.Errorf("%s: %w", path, err)
	}
	terms.Threshold = 1
	own := &trust.Card{Name: r.Name, Key: key.Public().Bytes(), Request: request}
	a, err := Draft(terms, []*trust.Card{own}, key, seeds, now)
	if err != nil {
		return crypto.Region{}, err
	}
	return a.Region, writeAdmission(dir, *a)
}

// Admit makes the author of request a member of the region that the node in dir
// belongs to, with the coordinator's admission key, and returns the encoded
// admission to hand back. Seeds are who the new member dials first.
func Admit(dir string, key *crypto.PrivateKey, request []byte, role trust.Role, seeds []string, now time.Time) ([]byte, error) {
	mine, err := os.ReadFile(filepath.Join(dir, admissionFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s belongs to no region: found one with watchward region init", dir)
	}
	if err != nil {
		return nil, err
	}
	a, roster, err := ParseAdmission(mine)
	if err != nil {
		return nil, err
	}
	r, err := trust.ParseRequest(request)
	if err != nil {
		return nil, fmt.Errorf("this is no join request, or a damaged one: ask for the %s that watchward init wrote (%w)", RequestFile, err)
	}
	records, err := trust.Admit(roster.Charter(), []*crypto.PrivateKey{key}, []trust.Grant{grant(r, role, now)}, now.UnixMilli())
	if err != nil {
		return nil, err
	}
	return canon.Marshal(Admission{Region: a.Region, Records: append(records, a.Records...), Seeds: append(seeds, a.Seeds...)})
}

// Join makes the node in dir a member by the admission it was handed.
func Join(dir string, admission []byte) (region string, err error) {
	a, roster, err := ParseAdmission(admission)
	if err != nil {
		return "", err
	}
	id, err := keyfile.Load(filepath.Join(dir, identityFile))
	if err != nil {
		return "", err
	}
	if _, ok := roster.ByKey(id.Signing.Public().Bytes()); !ok {
		for _, p := range roster.Proposals() {
			for _, change := range p.Changes() {
				if slices.ContainsFunc(change.Credentials, func(c *trust.Credential) bool { return bytes.Equal(c.Key, id.Signing.Public().Bytes()) }) {
					return "", fmt.Errorf("this admission is not decided yet: %d more of the coordinators must sign it (watchward region sign FILE), then it is handed back", p.Lacking())
				}
			}
		}
		return "", fmt.Errorf("this admission is for another node: hand the coordinator %s", filepath.Join(dir, RequestFile))
	}
	if have, err := os.ReadFile(filepath.Join(dir, admissionFile)); err == nil && !bytes.Equal(have, admission) && !supersedes(id, a, have) {
		return "", fmt.Errorf("%s belongs to a region already: make another directory with watchward init", dir)
	}
	return roster.Charter().Name, writeAdmission(dir, *a)
}

// supersedes reports whether an admission brings a node back, with new keys, into
// the region to which an older one admitted it.
func supersedes(id *keyfile.Identity, a *Admission, older []byte) bool {
	old, roster, err := ParseAdmission(older)
	if err != nil || old.Region != a.Region {
		return false
	}
	_, same := roster.ByKey(id.Signing.Public().Bytes())
	return !same
}

func grant(r *trust.Request, role trust.Role, now time.Time) trust.Grant {
	// An hour's slack for machines whose clock is a little behind.
	return trust.Grant{Request: r, Role: role, NotBefore: now.Add(-time.Hour).UnixMilli(), NotAfter: now.Add(CredentialLife).UnixMilli()}
}

func readRequest(path string) (*trust.Request, error) {
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s is missing: make the node with watchward init first", path)
	}
	if err != nil {
		return nil, err
	}
	return trust.ParseRequest(raw)
}

// AddRecords hands trust records to the node in dir, which does not run, and
// addresses that it dials at its next start. Each record must be good; none is added
// otherwise.
func AddRecords(dir string, records [][]byte, seeds ...string) error {
	a, roster, st, err := openOffline(dir)
	if err != nil {
		return err
	}
	if st != nil {
		defer st.Close()
	}
	roster.KeepJournal()
	if _, err := roster.AddAll(records); err != nil {
		return err
	}
	for _, seed := range seeds {
		if !slices.Contains(a.Seeds, seed) && len(a.Seeds) < seedsMax {
			a.Seeds = append(a.Seeds, seed)
		}
	}
	if st != nil { // it has run: its store is where it keeps what came
		if err := st.ChangeTrust(context.Background(), roster.TakeJournal()); err != nil {
			return err
		}
		return writeAdmission(dir, *a)
	}
	a.Records = nil
	for _, id := range roster.IDs() { // without the records of a region that is endorsed no longer
		record, _ := roster.Record(id)
		a.Records = append(a.Records, record)
	}
	return writeAdmission(dir, *a)
}

func writeAdmission(dir string, a Admission) error {
	raw, err := canon.Marshal(a)
	if err != nil {
		return fmt.Errorf("encode admission: %w", err)
	}
	if len(raw) > admissionSizeMax { // no node would start with it
		return fmt.Errorf("these records have %d bytes, and what a node is handed before it runs may have %d: start it with watchward run, then hand them over", len(raw), admissionSizeMax)
	}
	return writeFile(filepath.Join(dir, admissionFile), raw, 0o600)
}

// writeFile replaces path with content in one step, so that a crash leaves the
// old file or the new one.
func writeFile(path string, content []byte, mode fs.FileMode) error {
	temporary, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	defer os.Remove(temporary.Name())
	_, err = temporary.Write(content)
	err = errors.Join(err, temporary.Chmod(mode), temporary.Sync(), temporary.Close())
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return os.Rename(temporary.Name(), path)
}

// Charter returns the charter of the region that the node in dir belongs to.
func Charter(dir string) (*trust.Charter, crypto.Region, error) {
	a, roster, err := readAdmission(dir)
	if err != nil {
		return nil, crypto.Region{}, err
	}
	return roster.Charter(), a.Region, nil
}

func readAdmission(dir string) (*Admission, *trust.Roster, error) {
	raw, err := os.ReadFile(filepath.Join(dir, admissionFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, fmt.Errorf("%s belongs to no region", dir)
	}
	if err != nil {
		return nil, nil, err
	}
	return ParseAdmission(raw)
}

// Member returns the member id of the node in dir: that of its credential, which
// it keeps with new keys, or the one that it will have in its first region.
func Member(dir string) (string, error) {
	if raw, err := os.ReadFile(filepath.Join(dir, admissionFile)); err == nil {
		_, roster, err := ParseAdmission(raw)
		if err != nil {
			return "", err
		}
		id, err := keyfile.Load(filepath.Join(dir, identityFile))
		if err != nil {
			return "", err
		}
		if c, ok := roster.ByKey(id.Signing.Public().Bytes()); ok {
			return c.Member.String(), nil
		}
	}
	r, err := readRequest(filepath.Join(dir, RequestFile))
	if err != nil {
		return "", err
	}
	key, err := crypto.ParsePublicKey(r.Key)
	if err != nil {
		return "", err
	}
	return crypto.NewMemberID(key).String(), nil
}
