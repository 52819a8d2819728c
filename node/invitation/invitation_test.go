package invitation_test

import (
	"crypto/hmac"
	"strings"
	"testing"
	"time"

	"rsc.io/qr"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/invitation"
)

const (
	anna  = "/p2p/12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp"
	river = "/p2p/12D3KooWHHzSeKaY8xuZVzkLbKFfvNgPPeKhFBGrMbNzbm5akpqu"
)

func sample() invitation.Invitation {
	return invitation.Invitation{
		Region: crypto.Region{1, 2, 3}, Secret: [16]byte{4, 5, 6}, Expires: time.Unix(1_800_000_000, 0).UTC(),
		Seeds: []string{"/ip4/192.0.2.1/udp/8461/quic-v1" + anna, "/ip6/2001:db8::1/tcp/8461" + anna, "/dns4/hub.example/tcp/443/tls/ws" + river},
	}
}

func TestTravels(t *testing.T) {
	want := sample()
	text := want.String()
	if text == "" || strings.ToUpper(text) != text || len(text) > 330 {
		t.Fatalf("%d characters: %s", len(text), text)
	}
	if _, err := qr.Encode(text, qr.M); err != nil {
		t.Error(err)
	}
	for name, s := range map[string]string{
		"as printed":    text,
		"small letters": strings.ToLower(text),
		"a mail's wrap": "  " + text[:60] + "\r\n" + text[60:120] + "\n\t" + text[120:] + " \n",
		"in groups":     text[:4] + "-" + text[4:50] + " " + text[50:],
	} {
		got, err := invitation.Parse(s)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got.Region != want.Region || got.Secret != want.Secret || !got.Expires.Equal(want.Expires) || strings.Join(got.Seeds, " ") != strings.Join(want.Seeds, " ") {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestRefused(t *testing.T) {
	good := sample().String()
	swapped := []byte(good)
	for i := 20; ; i++ {
		if swapped[i] != swapped[i+1] {
			swapped[i], swapped[i+1] = swapped[i+1], swapped[i]
			break
		}
	}
	for name, x := range map[string]struct{ in, why string }{
		"nothing":          {"", "this is no invitation"},
		"another text":     {"request.ww", "this is no invitation"},
		"an address":       {sample().Seeds[0], "this is no invitation"},
		"a later version":  {"ww2" + good[3:], "version 2"},
		"a wrong letter":   {good[:30] + flip(good[30]) + good[31:], "a character is missing or wrong"},
		"two swapped":      {string(swapped), "a character is missing or wrong"},
		"one missing":      {good[:40] + good[41:], "a character is missing or wrong"},
		"cut":              {good[:len(good)/2], "a character is missing or wrong"},
		"the prefix alone": {"ww1", "a character is missing or wrong"},
		"a zero for an O":  {good[:30] + "0" + good[31:], `the character '0' at place 31`},
		"an umlaut":        {good[:30] + "ä" + good[31:], `the character 'Ä' at place 31`},
		"twice":            {good + good, "a character|is something pasted behind it"},
		"long":             {good + strings.Repeat("A", 1000), "is something pasted behind it"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := invitation.Parse(x.in)
			if err == nil {
				t.Fatal("taken")
			}
			for _, why := range strings.Split(x.why, "|") {
				if strings.Contains(err.Error(), why) {
					return
				}
			}
			t.Errorf("%v, want %q", err, x.why)
		})
	}
}

// flip returns another character of the alphabet.
func flip(c byte) string {
	if c == 'A' {
		return "B"
	}
	return "A"
}

// What Parse would refuse is not printed.
func TestUnprintable(t *testing.T) {
	for name, change := range map[string]func(*invitation.Invitation){
		"no seed":    func(i *invitation.Invitation) { i.Seeds = nil },
		"many seeds": func(i *invitation.Invitation) { i.Seeds = append(i.Seeds, i.Seeds...) },
		"no peer id": func(i *invitation.Invitation) { i.Seeds = []string{"/ip4/192.0.2.1/tcp/1"} },
		"no address": func(i *invitation.Invitation) { i.Seeds = []string{anna} },
		"not ed25519": func(i *invitation.Invitation) {
			i.Seeds = []string{"/ip4/192.0.2.1/tcp/1/p2p/QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N"}
		},
		"no time": func(i *invitation.Invitation) { i.Expires = time.Time{} },
		"a long name": func(i *invitation.Invitation) {
			i.Seeds = []string{"/dns4/" + strings.Repeat("a.", 60) + "example/tcp/1" + anna}
		},
		"beyond year 9999": func(i *invitation.Invitation) { i.Expires = time.Unix(1<<40, 0) },
	} {
		i := sample()
		if change(&i); i.String() != "" {
			t.Errorf("%s: printed as %s", name, i)
		}
	}
}

func TestExpired(t *testing.T) {
	i := sample()
	if err := i.Expired(i.Expires.Add(-time.Second)); err != nil {
		t.Error(err)
	}
	if err := i.Expired(i.Expires); err == nil || !strings.Contains(err.Error(), "expired on 2027-01-15T08:00:00Z") {
		t.Error(err)
	}
}

// The proof is of one secret, one region and one request.
func TestProof(t *testing.T) {
	i := sample()
	proof := i.Key().Prove([]byte("request"))
	region, secret := i, i
	region.Region[0]++
	secret.Secret[0]++
	for name, other := range map[string][]byte{
		"region":  region.Key().Prove([]byte("request")),
		"secret":  secret.Key().Prove([]byte("request")),
		"request": i.Key().Prove([]byte("Request")),
	} {
		if hmac.Equal(proof, other) {
			t.Errorf("another %s has the same proof", name)
		}
	}
	if region.Key().ID() == i.Key().ID() || secret.Key().ID() == i.Key().ID() {
		t.Error("two invitations have one id")
	}
}

// What is taken has one text, case and blanks apart.
func FuzzParse(f *testing.F) {
	f.Add(sample().String())
	f.Add("ww1")
	f.Add("WW2ABC")
	f.Fuzz(func(t *testing.T, text string) {
		i, err := invitation.Parse(text)
		if err != nil {
			return
		}
		again, err := invitation.Parse(i.String())
		if err != nil || again.String() != i.String() || again.Region != i.Region || len(i.Seeds) == 0 {
			t.Errorf("%q became %+v and %+v, %v", text, i, again, err)
		}
	})
}
