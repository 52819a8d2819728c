package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/keyfile"
	"github.com/watchward/watchward/crypto/trust"
	"github.com/watchward/watchward/node"
	"github.com/watchward/watchward/node/invitation"
)

const (
	devCoordinatorsMax = 3
	devTogether        = 8 // how many join at once: so many wait from one address
)

// foundDevRegion founds the region, unless it is there, by the steps that a real
// one takes: each coordinator has a key and a card, all sign the draft, and their
// nodes join with it. It returns the coordinators' keys.
func foundDevRegion(dir string, nodes []string) ([]*crypto.PrivateKey, error) {
	var keys []*crypto.PrivateKey
	for i := range min(devCoordinatorsMax, len(nodes)) {
		path := filepath.Join(dir, fmt.Sprintf("dev-only-admission-%d.key", i+1))
		if _, err := os.Stat(path); os.IsNotExist(err) {
			if node.Joined(nodes[0]) {
				break // a region of fewer coordinators stays so
			}
			if _, err := newAdmissionKey(nil, path, false); err != nil {
				return nil, err
			}
		}
		key, err := keyfile.LoadAdmission(path, nil)
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	if node.Joined(nodes[0]) {
		return keys, nil
	}
	var cards []*trust.Card
	for i, key := range keys {
		request, err := os.ReadFile(filepath.Join(nodes[i], node.RequestFile))
		if err != nil {
			return nil, err
		}
		raw, err := trust.NewCard(key, devName(i+1), request)
		if err != nil {
			return nil, err
		}
		card, err := trust.ParseCard(raw)
		if err != nil {
			return nil, err
		}
		cards = append(cards, card)
	}
	terms := trust.Charter{Name: "Watchward dev", Threshold: uint8(len(keys)/2 + 1), Ledger: 1}
	for _, card := range cards {
		r, err := trust.ParseRequest(card.Request)
		if err != nil {
			return nil, err
		}
		if terms.Voters = append(terms.Voters, r.Member()); len(cards) < devCoordinatorsMax {
			break // two could do no more than one, and only together
		}
	}
	a, err := node.Draft(terms, cards, keys[0], nil, now())
	if err != nil {
		return nil, err
	}
	for _, key := range keys[1:] {
		if _, err := a.Sign(key, nil); err != nil {
			return nil, err
		}
	}
	raw, err := a.Encode()
	if err != nil {
		return nil, err
	}
	for i := range keys {
		if _, err := node.Join(nodes[i], raw); err != nil {
			return nil, err
		}
	}
	return keys, nil
}

// inviteAll lets nodes join by invitations of a coordinator's node.
func inviteAll(ctx context.Context, coordinator *node.Node, keys []*crypto.PrivateKey, dirs []string, late []int) error {
	for part := range slices.Chunk(late, devTogether) {
		if err := inviteSome(ctx, coordinator, keys, dirs, part); err != nil {
			return err
		}
	}
	return nil
}

func inviteSome(ctx context.Context, coordinator *node.Node, keys []*crypto.PrivateKey, dirs []string, late []int) error {
	var joining errgroup.Group
	var asked sync.WaitGroup
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for _, i := range late {
		made, err := coordinator.Invite(ctx, time.Hour)
		if err != nil {
			return err
		}
		in, err := invitation.Parse(made.Invitation)
		if err != nil {
			return err
		}
		asked.Add(1)
		var once sync.Once
		answered := func() { once.Do(asked.Done) }
		joining.Go(func() error {
			defer answered() // an error must not leave the coordinator waiting
			_, err := node.Apply(ctx, dirs[i], in, node.Waiting{Kept: func(uint64) { answered() }, Lost: func(error, time.Duration) {}})
			return err
		})
	}
	asked.Wait()
	if err := admitAll(ctx, coordinator, keys); err != nil {
		cancel()
		_ = joining.Wait()
		return err
	}
	return joining.Wait()
}

// admitAll admits everybody that asks a coordinator's node.
func admitAll(ctx context.Context, coordinator *node.Node, keys []*crypto.PrivateKey) error {
	asking, err := coordinator.JoinRequests(ctx)
	if err != nil {
		return err
	}
	var requests [][]byte
	for _, r := range asking {
		if !r.Admitted {
			requests = append(requests, r.Request)
		}
	}
	if len(requests) == 0 {
		return nil
	}
	raw, err := coordinator.Records(ctx, nil, false)
	if err != nil {
		return err
	}
	a, err := node.ReadRecords(raw)
	if err != nil {
		return err
	}
	roster, err := a.Roster()
	if err != nil {
		return err
	}
	st, err := node.Admitting(roster, requests, trust.RoleHospital, nil, now())
	if err != nil {
		return err
	}
	charter := roster.Charter()
	records, err := trust.Act(charter, keys[:charter.Threshold], now().UnixMilli(), st)
	if err != nil {
		return err
	}
	if raw, err = (&node.Admission{Region: a.Region, Records: records}).Encode(); err != nil {
		return err
	}
	_, err = coordinator.AddRecords(ctx, raw)
	return err
}
