package paper_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/catalog"
	"github.com/watchward/watchward/node/paper"
)

func playbook(name, content string) paper.Playbook {
	return paper.Playbook{
		Name: name, Media: "application/pdf", Title: "Ransomware: the first six hours", From: "St Anna Cork", SHA256: sha256.Sum256([]byte(content)), Size: int64(len(content)),
		Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader([]byte(content))), nil },
	}
}

func (g region) pack(language string, playbooks ...paper.Playbook) *paper.Pack {
	k := &paper.Pack{Report: g.report(), Playbooks: playbooks, Language: language, Zone: time.UTC, Every: 7 * 24 * time.Hour}
	for i, m := range k.Report.Members {
		v := api.MemberView{ID: m.Member, Name: m.Name, Region: k.Report.Region, State: m.State, Roles: []string{"hospital"}, Self: i == 40}
		if i%50 == 7 {
			v.Roles = []string{"coordinator"}
		}
		k.Members = append(k.Members, v)
	}
	for i := range 4 {
		k.Addresses = append(k.Addresses, fmt.Sprintf("/ip4/192.0.2.%d/udp/8461/quic-v1/p2p/12D3KooWQYhTNQdmr3ArTeUHRYzFg94BKyTkoWBDWez9kSCVe2Xo", i+1))
	}
	return k
}

// TestPackPrints: a pack is printed in each language, with a page for each form: as many
// pages as the contacts take, and few more.
func TestPackPrints(t *testing.T) {
	for _, language := range catalog.Languages {
		t.Run(language, func(t *testing.T) {
			g := region{members: 200, text: usual}
			page, err := g.pack(language, playbook("ransomware.pdf", "%PDF"), playbook("../../etc/passwd", "x")).HTML()
			if err != nil {
				t.Fatal(err)
			}
			pages := printed(t, page)
			if len(pages) < 10 || len(pages) > 18 {
				t.Errorf("%d pages", len(pages))
			}
			heads(t, pages, g.report())
		})
	}
}

var errPlug = errors.New("the stick was pulled out")
