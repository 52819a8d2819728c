package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/watchward/watchward/crypto/trust"
	"github.com/watchward/watchward/ledger/tlog"
	"github.com/watchward/watchward/ledger/verify"
	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/api/client"
	"github.com/watchward/watchward/node/proof"
)

func newLedgerAudit() *cobra.Command {
	var region, tokenFile string
	var cosigners []string
	c := &cobra.Command{
		Use:   "audit DIR|URL",
		Short: "Check a whole ledger: every entry, every hash, every signature",
		Long: `Check a whole ledger, in a directory or behind a URL: each entry, each hash of each
tile, that together they have the root of the checkpoint, and that enough coordinators
signed it. It trusts nobody who keeps the ledger.

DIR holds checkpoint and tile/: a copy of a node's ledger/epoch/N/tiles. URL is
http://HOST/ledger/REGION/EPOCH, where the node asks for a token unless it has
[ledger] public = true: --token FILE, or that of the node in --dir if it is its URL.

Whose signatures count, the region's records say: those in the file that watchward
region show --out FILE --members wrote (--region FILE), or those of the node in --dir.
A line of anybody else is a fault, unless --cosigner has its key (a C2SP vkey of an
Ed25519 or ML-DSA-44 cosigner, once a key): then it must hold, and counts for nothing.`,
		Example: `  watchward ledger audit copy --region north.wwregion
  watchward ledger audit http://10.1.2.3:8460/ledger/REGION/1 --token token --dir A`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			src, err := auditSource(cmd, args[0], tokenFile)
			if err != nil {
				return err
			}
			roster, err := auditRoster(cmd, region)
			if err != nil {
				return err
			}
			keys, err := cosignerKeys(cosigners)
			if err != nil {
				return err
			}
			return audit(cmd, args[0], src, roster, keys)
		},
	}
	c.Flags().StringVar(&region, "region", "", "file of the region, with its members, instead of a node")
	c.Flags().StringVar(&tokenFile, "token", "", "file with a token for URL")
	c.Flags().StringArrayVar(&cosigners, "cosigner", nil, "`VKEY` of a witness that the region does not name, NAME+ID+BASE64, repeatable")
	return c
}

func cosignerKeys(vkeys []string) (keys []*tlog.Key, err error) {
	for _, vkey := range vkeys {
		k, err := tlog.ParseKey(strings.TrimSpace(vkey))
		if err != nil {
			return nil, usage("--cosigner: %w", err)
		}
		keys = append(keys, k)
	}
	return keys, nil
}

func auditSource(cmd *cobra.Command, at, tokenFile string) (verify.Source, error) {
	if !strings.HasPrefix(at, "http://") && !strings.HasPrefix(at, "https://") {
		if tokenFile != "" {
			return nil, usage("--token goes with a URL")
		}
		if _, err := os.Stat(filepath.Join(at, "tile")); errors.Is(err, fs.ErrNotExist) {
			return nil, usage("%s: there is no tile directory in it: give the directory that has checkpoint and tile/ (of a node: ledger/epoch/N/tiles)", at)
		}
		return verify.Dir(at), nil
	}
	token, err := auditToken(cmd, at, tokenFile)
	if err != nil {
		return nil, err
	}
	src, err := verify.URL(at, token)
	if err != nil {
		return nil, usage("%w", err)
	}
	return src, nil
}

// auditToken is the token in the file, or the one of the node in --dir if the URL is its.
func auditToken(cmd *cobra.Command, at, tokenFile string) (string, error) {
	if tokenFile != "" {
		token, err := client.ReadToken(tokenFile)
		if errors.Is(err, fs.ErrNotExist) {
			err = &client.Error{Denied: true, Err: fmt.Errorf("--token: %w, or make one: watchward token create", fileError(tokenFile, fs.ErrNotExist))}
		}
		return token, err
	}
	dir, _ := cmd.Flags().GetString("dir")
	if dir == "" {
		return "", nil
	}
	c, err := client.Open(dir)
	if err != nil {
		return "", nil // who asks for a token will say so
	}
	defer c.Close()
	return c.TokenFor(at), nil
}

// unread is the error for a file that could not be read from a URL, nil if an error is
// another one.
func unread(at string, err error) error {
	switch {
	case errors.Is(err, verify.ErrDenied):
		return &client.Error{Denied: true, Err: fmt.Errorf("%s: %w", at, err)}
	case errors.Is(err, verify.ErrUnreachable):
		return client.Unreached(at, verify.RequestTimeout, err)
	}
	return nil
}

// auditRoster is who may sign, by a file or by a node.
func auditRoster(cmd *cobra.Command, region string) (*trust.Roster, error) {
	if region == "" {
		c, err := openCouncil(cmd, "", nil, true)
		if err != nil {
			return nil, err
		}
		c.close()
		return c.roster, nil
	}
	raw, err := readBounded(region, proof.RegionSizeMax)
	if err != nil {
		return nil, usage("--region: %w", err)
	}
	r, err := proof.ParseRegion(raw)
	if err != nil {
		return nil, usage("--region: %s: %w", region, err)
	}
	roster := trust.NewRoster(r.Region)
	if _, err := roster.AddAll(r.Records); err != nil {
		return nil, usage("--region: %s: %w", region, err)
	}
	if len(roster.Members(r.Region)) == 0 {
		return nil, usage("--region: %s says nothing of members, so of no keys: write it with --members", region)
	}
	return roster, nil
}

// An auditResult is the answer of ledger audit --json.
type auditResult struct {
	Sound     bool     `json:"sound"`
	File      string   `json:"file,omitempty"` // what is wrong …
	Reason    string   `json:"reason,omitempty"`
	Origin    string   `json:"origin,omitempty"`
	Size      uint64   `json:"size"`
	Root      string   `json:"root,omitempty"`
	Time      api.Time `json:"time,omitempty"`
	Signers   []string `json:"signers"`
	Witnesses []string `json:"witnesses"`
	Witnessed bool     `json:"witnessed"`
	Cosigners []string `json:"cosigners,omitempty"`
	Files     uint64   `json:"files"`
	Bytes     uint64   `json:"bytes"`
}

func audit(cmd *cobra.Command, at string, src verify.Source, roster *trust.Roster, cosigners []*tlog.Key) error {
	began := time.Now()
	report, err := auditAll(cmd, at, src, roster, cosigners)
	var fault *verify.Fault
	if err := unread(at, err); err != nil && cmd.Context().Err() == nil {
		return err
	}
	if err != nil && !errors.As(err, &fault) {
		if cmd.Context().Err() != nil {
			return stopped(cmd)
		}
		return err
	}
	r := auditResult{Sound: err == nil, Origin: report.Origin, Size: report.Size, Signers: signers(report.Voters), Witnesses: signers(report.Witnesses),
		Witnessed: report.Witnessed, Cosigners: report.Cosigners, Files: report.Files, Bytes: report.Bytes}
	if report.Origin != "" {
		r.Root, r.Time = report.Root.String(), api.Time(report.Time.UnixMilli())
	}
	if fault != nil {
		r.File, r.Reason = fault.File, fault.Err.Error()
	}
	if jsonFlag(cmd) {
		if err := printJSON(cmd.OutOrStdout(), r); err != nil {
			return err
		}
		if !r.Sound {
			return differs()
		}
		return nil
	}
	if fault != nil {
		return &failure{code: client.ExitNo, err: fmt.Errorf("NOT SOUND: %s/%s: %w", strings.TrimRight(at, "/"), fault.File, fault.Err)}
	}
	out := cmd.OutOrStdout()
	line := func(name, format string, args ...any) {
		fmt.Fprintf(out, "%-10s %s\n", name, plain(fmt.Sprintf(format, args...)))
	}
	fmt.Fprintf(out, "%s: all %s are as the coordinators signed them.\n", paint(out, "32", "SOUND"), entries(r.Size))
	line("origin", "%s", r.Origin)
	line("checkpoint", "of %s", r.Time)
	line("root", "%s", r.Root)
	line("signed", "%s", signedBy(r.Signers, report.VotersOf, "coordinator"))
	if report.WitnessesOf > 0 {
		line("witnessed", "%s", signedBy(r.Witnesses, report.WitnessesOf, "witness"))
	}
	if len(r.Cosigners) > 0 {
		line("cosigned", "by %s, whom the region does not name", strings.Join(r.Cosigners, ", "))
	}
	line("read", "%s files, %s, in %.1f s", thousands(int64(r.Files)), size(int64(r.Bytes)), time.Since(began).Seconds())
	return nil
}

func signers(list []verify.Signature) []string {
	names := []string{}
	for _, s := range list {
		names = append(names, s.Name)
	}
	return names
}

// auditAll reads in the checkpoint which epoch it is of, and checks everything.
func auditAll(cmd *cobra.Command, at string, src verify.Source, roster *trust.Roster, cosigners []*tlog.Key) (verify.Report, error) {
	epoch, err := epochOf(cmd.Context(), at, src, roster)
	if err != nil {
		return verify.Report{}, err
	}
	policy, err := verify.PolicyOf(roster, roster.Region(), epoch)
	if err != nil {
		return verify.Report{}, err
	}
	if policy, err = policy.WithCosigners(cosigners...); err != nil {
		return verify.Report{}, usage("--cosigner: %w", err)
	}
	errOut := cmd.ErrOrStderr()
	_, _, person := terminal(errOut)
	person = person && !jsonFlag(cmd)
	p := pace{noun: "entries"}
	return verify.Audit(cmd.Context(), src, policy, func(done, total uint64) {
		if p.began.IsZero() {
			p.begin(int(total))
		}
		if !person || now().Sub(p.shown) < progressEvery && done != total {
			return
		}
		fmt.Fprint(errOut, "\r\x1b[K")
		if p.shown = now(); done != total {
			fmt.Fprint(errOut, p.text(int(done), "checked"))
		}
	})
}

func epochOf(ctx context.Context, at string, src verify.Source, roster *trust.Roster) (uint32, error) {
	raw, err := src.Read(ctx, "checkpoint", tlog.NoteSizeMax)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("%s/checkpoint is missing, so this is no ledger, or not the whole of it: give the directory, or the address, that has it", at)
	}
	if err != nil { // nothing was seen of the ledger, so nothing is said of it
		return 0, fmt.Errorf("%s/checkpoint: %w", at, err)
	}
	var c tlog.Checkpoint
	n, err := tlog.ParseNote(raw)
	if err == nil {
		c, err = n.Checkpoint()
	}
	if err != nil {
		return 0, &verify.Fault{File: "checkpoint", Err: fmt.Errorf("%w: the checkpoint is damaged: get another copy, from another member's node", err)}
	}
	region, epoch, err := tlog.ParseOrigin(c.Origin)
	if err == nil && region != roster.Region() {
		err = fmt.Errorf("it is of region %s, and the records given are of region %s: give that region's file with --region", region, roster.Region())
	}
	if err != nil {
		return 0, &verify.Fault{File: "checkpoint", Err: err}
	}
	return epoch, nil
}
