package node_test

import (
	"bytes"
	"crypto/sha256"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/canon"
	"github.com/watchward/watchward/crypto/testkit"
	"github.com/watchward/watchward/crypto/trust"
	"github.com/watchward/watchward/node"
	"github.com/watchward/watchward/node/config"
)

// A newcomer is a node that was made and not admitted yet.
func newcomer(t testing.TB, name string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), name)
	makeNode(t, dir, name)
	return dir
}

// snapshot is every file below dir with the hash of its content.
func snapshot(t testing.TB, dir string) map[string][32]byte {
	t.Helper()
	out := map[string][32]byte{}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := os.ReadFile(path)
		out[path] = sha256.Sum256(raw)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func same(a, b map[string][32]byte) bool {
	if len(a) != len(b) {
		return false
	}
	for k, v := range a {
		if b[k] != v {
			return false
		}
	}
	return true
}

// A bad admission is refused with a clear word and changes nothing.
func TestBadAdmissionsAreRefused(t *testing.T) {
	r := makeRegion(t, 1)
	other := makeRegion(t, 1)
	dir := newcomer(t, "newcomer")
	good := r.admission(t, dir)
	parsed, _, err := node.ParseAdmission(good)
	if err != nil {
		t.Fatal(err)
	}
	edited := func(change func(a *node.Admission)) []byte {
		a := *parsed
		a.Records, a.Seeds = slices.Clone(a.Records), []string{}
		change(&a)
		raw, err := canon.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	isCharter := func(raw []byte) bool {
		return trust.NewRoster(parsed.Region).Root() != rootWith(t, parsed.Region, raw)
	}
	request, err := os.ReadFile(filepath.Join(dir, node.RequestFile))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, say string
		raw       []byte
	}{
		{"nothing", "this is no admission", nil},
		{"text", "this is no admission", []byte("hello, here is your admission\n")},
		{"the request instead", "this is no admission", request},
		{"its first half", "this is no admission", good[:len(good)/2]},
		{"the last byte cut off", "this is no admission", good[:len(good)-1]},
		{"a trailing byte", "this is no admission", append(slices.Clone(good), 0)},
		{"2 MiB", "at most", make([]byte, 2<<20)},
		{"nested 5,000 deep", "this is no admission", bytes.Repeat([]byte{0x81}, 5000)},
		{"a map of 2^64-1", "this is no admission", []byte{0xbb, 255, 255, 255, 255, 255, 255, 255, 255}},
		{"no records", "charter is missing", edited(func(a *node.Admission) { a.Records = [][]byte{} })},
		{"no charter", "charter", edited(func(a *node.Admission) { a.Records = slices.DeleteFunc(a.Records, isCharter) })},
		{"a record that is noise", "admission:", edited(func(a *node.Admission) { a.Records = append(a.Records, []byte("noise")) })},
		{"65 seeds", "seeds", edited(func(a *node.Admission) { a.Seeds = slices.Repeat([]string{"/ip4/127.0.0.1/tcp/1"}, 65) })},
		{"another region's name", "admission:", edited(func(a *node.Admission) { a.Region[0] ^= 1 })},
		{"another region's records", "admission:", edited(func(a *node.Admission) { a.Region = other.hospitals[0].regionID(t) })},
		{"for another node", "for another node", r.admission(t, newcomer(t, "somebody-else"))},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := snapshot(t, dir)
			_, err := node.Join(dir, c.raw)
			if err == nil || !strings.Contains(err.Error(), c.say) {
				t.Errorf("error %v, which does not say %q", err, c.say)
			}
			if !same(before, snapshot(t, dir)) || node.Joined(dir) {
				t.Error("the node's directory changed")
			}
		})
	}
	t.Run("every bit counts", func(t *testing.T) {
		for at := range good {
			if at%37 != 0 { // 1 in 37: a record is several KB, each parse takes signatures
				continue
			}
			flipped := slices.Clone(good)
			flipped[at] ^= 4
			if _, err := node.Join(dir, flipped); err == nil {
				t.Fatalf("taken with byte %d changed", at)
			}
		}
	})
	if name, err := node.Join(dir, good); err != nil || name != "Test region" {
		t.Fatalf("the good one joins %q, error %v", name, err)
	}
	if _, err := node.Join(dir, good); err != nil {
		t.Fatalf("the same once more: %v", err)
	}
	before := snapshot(t, dir)
	for name, raw := range map[string][]byte{"another region": other.admission(t, dir), "the same region": r.admission(t, dir)} {
		if _, err := node.Join(dir, raw); err == nil || !strings.Contains(err.Error(), "belongs to a region already") {
			t.Errorf("a member joins %s: %v", name, err)
		}
	}
	if _, err := node.CreateRegion(dir, trust.Charter{Name: "Mine"}, r.key, nil, time.Now()); err == nil {
		t.Error("a member founds a region of its own")
	}
	if !same(before, snapshot(t, dir)) {
		t.Error("refused joins changed the directory")
	}
}

// rootWith is the root of a roster that was shown one record.
func rootWith(t testing.TB, region crypto.Region, raw []byte) crypto.Hash {
	t.Helper()
	r := trust.NewRoster(region)
	_, _ = r.Add(raw) // a credential without its charter is refused, and so told apart
	return r.Root()
}

// Only the charter's key admits, and only whole requests.
func TestAdmitRefuses(t *testing.T) {
	r, other := makeRegion(t, 1), makeRegion(t, 1)
	dir := newcomer(t, "newcomer")
	request, err := os.ReadFile(filepath.Join(dir, node.RequestFile))
	if err != nil {
		t.Fatal(err)
	}
	flipped := slices.Clone(request)
	flipped[len(flipped)/2] ^= 1
	at := r.hospitals[0].dir
	for name, attempt := range map[string]func() ([]byte, error){
		"another region's key": func() ([]byte, error) {
			return node.Admit(at, other.key, request, trust.RoleHospital, nil, time.Now())
		},
		"a changed request": func() ([]byte, error) {
			return node.Admit(at, r.key, flipped, trust.RoleHospital, nil, time.Now())
		},
		"half a request": func() ([]byte, error) {
			return node.Admit(at, r.key, request[:len(request)/2], trust.RoleHospital, nil, time.Now())
		},
		"a node without a region": func() ([]byte, error) {
			return node.Admit(dir, r.key, request, trust.RoleHospital, nil, time.Now())
		},
	} {
		if raw, err := attempt(); err == nil || raw != nil {
			t.Errorf("%s admits", name)
		}
	}
}

// A node whose admission was damaged or exchanged on disk does not start, and
// says which file it is.
func TestDamagedDirectoryDoesNotOpen(t *testing.T) {
	r := makeRegion(t, 3)
	a, b := r.hospitals[1].dir, r.hospitals[2].dir
	for name, damage := range map[string]func(t *testing.T, dir string){
		"admission cut short": func(t *testing.T, dir string) {
			if err := os.Truncate(filepath.Join(dir, "admission.ww"), 1000); err != nil {
				t.Fatal(err)
			}
		},
		"another node's admission": func(t *testing.T, dir string) {
			replace(t, filepath.Join(b, "admission.ww"), filepath.Join(dir, "admission.ww"))
		},
		"another node's key": func(t *testing.T, dir string) {
			replace(t, filepath.Join(b, "identity.key"), filepath.Join(dir, "identity.key"))
		},
		"no key": func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, "identity.key")); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "copy")
			copyNode(t, dir, a)
			damage(t, dir)
			settings, err := config.Load(filepath.Join(dir, node.ConfigFile))
			if err != nil {
				t.Fatal(err)
			}
			n, err := node.Open(node.Options{Dir: dir, Settings: settings})
			if err == nil {
				n.Close()
				t.Fatal("it opens")
			}
			if text := err.Error(); !strings.Contains(text, "admission") && !strings.Contains(text, "identity.key") {
				t.Errorf("the error does not name the file: %s", text)
			}
		})
	}
}

func replace(t *testing.T, from, to string) {
	t.Helper()
	raw, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, raw, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestInitOverwritesNothing(t *testing.T) {
	dir := newcomer(t, "node")
	before := snapshot(t, dir)
	if err := node.Init(dir, node.InitOptions{Name: "again"}); err == nil {
		t.Error("a node is made over another")
	}
	if !same(before, snapshot(t, dir)) {
		t.Error("the directory changed")
	}
	if err := node.Init(filepath.Join(t.TempDir(), "new"), node.InitOptions{}); err == nil {
		t.Error("a node without a name")
	}
	// What was cut off before its configuration was written goes on with its keys.
	if err := os.Remove(filepath.Join(dir, node.ConfigFile)); err != nil {
		t.Fatal(err)
	}
	makeNode(t, dir, "node")
	key := filepath.Join(dir, "identity.key")
	if snapshot(t, dir)[key] != before[key] {
		t.Error("an init that was cut off lost its keys")
	}
}

// Whatever the bytes, an admission is refused or good in every part, and says
// the same when it is written again.
func FuzzParseAdmission(f *testing.F) {
	r := testkit.NewRegion(f, "author", "other")
	for _, a := range []node.Admission{
		{Region: r.ID, Records: r.Records, Seeds: []string{"/ip4/192.0.2.1/tcp/8461/p2p/12D3KooWBbp9kdCiJ9RRmSPYG6qyGMkVy7DcXokAztYybXYHaLZw"}},
		{Region: r.ID, Records: r.Records[:1], Seeds: []string{}},
		{Region: r.ID, Records: [][]byte{}, Seeds: []string{}},
	} {
		raw, err := canon.Marshal(a)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
		f.Add(raw[:len(raw)/2])
	}
	f.Add([]byte{})
	f.Add([]byte{0xa3, 0x01, 0x40, 0x02, 0x80, 0x03, 0x80})
	f.Fuzz(func(t *testing.T, raw []byte) {
		a, roster, err := node.ParseAdmission(raw)
		if err != nil {
			if a != nil || roster != nil {
				t.Fatal("an error and an admission")
			}
			return
		}
		if roster.Charter() == nil || roster.Region() != a.Region || len(a.Seeds) > 64 || len(raw) > 1<<20 {
			t.Fatalf("taken without its charter or beyond its limits: %+v", a)
		}
		again, err := canon.Marshal(*a)
		if err != nil || !bytes.Equal(again, raw) {
			t.Fatalf("written again it differs: %v", err)
		}
	})
}
