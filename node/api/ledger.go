package api

import (
	"context"
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/ledger/tlog"
	"github.com/watchward/watchward/node/api/token"
)

// LedgerView is how the region's ledger is, as far as this node knows.
type LedgerView struct {
	Origin     string            `json:"origin" doc:"Its name on checkpoints: watchward/REGION/EPOCH"`
	Epoch      uint32            `json:"epoch" doc:"Rises when the ledger had to begin anew"`
	Role       string            `json:"role" doc:"This node's part in it: voter, mirror or none"`
	Leader     string            `json:"leader,omitempty" doc:"Member id of the voter that orders now, where it is known"`
	LeaderName string            `json:"leader_name,omitempty"`
	Leads      bool              `json:"leads" doc:"This node is the leader"`
	Term       uint64            `json:"term,omitempty" doc:"Raft's term; of voters only"`
	Size       uint64            `json:"size" doc:"Entries in this node's copy"`
	Pending    int               `json:"pending" doc:"What belongs in the ledger, as far as this node knows, and is not in its copy yet"`
	Since      Time              `json:"no_quorum_since,omitempty" doc:"Since when nothing can be added, or no coordinator that votes can be reached from here; left out while there is a quorum"`
	Checkpoint *LedgerCheckpoint `json:"checkpoint,omitempty" doc:"The latest that enough voters signed; left out before the first"`
	Voters     []LedgerVoter     `json:"voters" doc:"By the charter and by Raft's configuration"`
	Witnesses  []LedgerWitness   `json:"witnesses" doc:"By the charter"`
	Split      bool              `json:"split" doc:"Two checkpoints contradict each other: a proof is kept, and nothing counts as witnessed until a new epoch"`
	Evidence   string            `json:"evidence,omitempty" doc:"The file on this node's disk that proves it: watchward verify FILE"`
	Warnings   []string          `json:"warnings" doc:"What a person should look at; empty when all is well"`
}

// LedgerBrief is what the node's own status says of the ledger.
type LedgerBrief struct {
	Role       string `json:"role" doc:"This node's part in it: voter, mirror or none"`
	Size       uint64 `json:"size" doc:"Entries in this node's copy"`
	Pending    int    `json:"pending" doc:"What belongs in the ledger and is not in this node's copy yet"`
	Since      Time   `json:"no_quorum_since,omitempty" doc:"Since when nothing can be added"`
	Checkpoint Time   `json:"checkpoint,omitempty" doc:"When the latest checkpoint was signed"`
}

// Brief returns the view in short.
func (v *LedgerView) Brief() *LedgerBrief {
	b := &LedgerBrief{Role: v.Role, Size: v.Size, Pending: v.Pending, Since: v.Since}
	if v.Checkpoint != nil {
		b.Checkpoint = v.Checkpoint.Time
	}
	return b
}

// LedgerCheckpoint is a signed size and root of the ledger.
type LedgerCheckpoint struct {
	Size      uint64   `json:"size" doc:"Entries under it"`
	Root      string   `json:"root" doc:"In hexadecimal"`
	Time      Time     `json:"time" doc:"The oldest time among the signatures that make it good"`
	Age       int64    `json:"age_seconds"`
	Signers   []string `json:"signers" doc:"Names of the voters that signed"`
	Witnesses []string `json:"witnesses" doc:"Names of the witnesses that signed"`
	Good      bool     `json:"good" doc:"A majority of the voters signed, with ML-DSA-44"`
	Witnessed bool     `json:"witnessed" doc:"Good, and all witnesses signed too"`
}

// LedgerVoter is one that orders the ledger, or should.
type LedgerVoter struct {
	Member      string  `json:"member"`
	Name        string  `json:"name"`
	Charter     bool    `json:"charter" doc:"The charter names it"`
	State       string  `json:"state,omitempty" doc:"In Raft's configuration: leader, voter, learner; empty: not in it, or not known here"`
	Lag         *uint64 `json:"lag,omitempty" doc:"Entries that it has still to get; left out where it is not known, for only the leader knows"`
	LastContact Time    `json:"last_contact,omitempty" doc:"When the leader last heard it"`
	Healthy     *bool   `json:"healthy,omitempty" doc:"It follows; left out where it is not known, for only the leader knows"`
	Signed      Time    `json:"signed,omitempty" doc:"Of the latest checkpoint known here that it has signed: what a node that does not lead knows of it"`
	LogKey      string  `json:"log_key" doc:"Its Ed25519 key as other tools take it (C2SP signed-note verifier key): signs checkpoints as the log"`
	CosignerKey string  `json:"cosigner_key" doc:"Its ML-DSA-44 key in the same form: cosigns them"`
}

// LedgerWitness is a hospital that signs checkpoints too.
type LedgerWitness struct {
	Member      string `json:"member"`
	Name        string `json:"name"`
	Signed      bool   `json:"signed" doc:"It signed the latest checkpoint"`
	LogKey      string `json:"log_key" doc:"Its Ed25519 key as other tools take it (C2SP signed-note verifier key): cosigns checkpoints"`
	CosignerKey string `json:"cosigner_key" doc:"Its ML-DSA-44 key in the same form"`
}

// LedgerEntry is where something stands in the ledger.
type LedgerEntry struct {
	ID         string            `json:"id" doc:"As asked"`
	Entry      string            `json:"entry" doc:"Id of what the ledger holds: of the notice's envelope, or of the record"`
	Kind       string            `json:"kind" doc:"envelope, record, checkpoint or charter"`
	Origin     string            `json:"origin"`
	Index      uint64            `json:"index" doc:"Its place, from 0"`
	Size       uint64            `json:"size" doc:"Entries of the ledger that was asked"`
	Strong     bool              `json:"strong" doc:"The leader answered, after it had made sure that it leads"`
	Covered    bool              `json:"covered" doc:"It is under the checkpoint"`
	Checkpoint *LedgerCheckpoint `json:"checkpoint,omitempty" doc:"The latest that this node holds, with its age"`
}

// LedgerTransferRequest is the body of POST /v1/ledger/transfer.
type LedgerTransferRequest struct {
	To string `json:"to,omitempty" maxLength:"100" doc:"Name or id of the voter that leads next; left out: whoever is furthest"`
}

// LedgerTransfer says who leads now.
type LedgerTransfer struct {
	Leader string `json:"leader"`
	Name   string `json:"name"`
}

// LedgerTile is a part of a ledger as C2SP tlog-tiles names them.
type LedgerTile struct {
	Body []byte
	Text bool // a checkpoint
	Full bool // never changes again
}

// NoQuorum says that too few voters can be reached. The API answers 503.
type NoQuorum struct{ Reason, Fix string }

func (e *NoQuorum) Error() string { return e.Reason + ": " + e.Fix }

// NoLedger says that this node has no ledger. The API answers 404.
type NoLedger struct{ Reason, Fix string }

func (e *NoLedger) Error() string { return e.Reason + ": " + e.Fix }

// NotYet says that something is not in the ledger, or not under a checkpoint that
// enough voters signed. The API answers 409, and asking again helps.
type NotYet struct{ Reason, Fix string }

func (e *NotYet) Error() string { return e.Reason + ": " + e.Fix }

func (e *NoQuorum) problem() *Problem {
	return problem(http.StatusServiceUnavailable, WordNoQuorum, "Too few coordinators are there", e.Reason, e.Fix)
}

func (e *NoLedger) problem() *Problem {
	return problem(http.StatusNotFound, "no-ledger", "There is no ledger here", e.Reason, e.Fix)
}

func (e *NotYet) problem() *Problem {
	return problem(http.StatusConflict, WordNotYet, "Not in the ledger yet", e.Reason, e.Fix)
}

// Stable words of problems that commands act on.
const (
	WordNoQuorum = "no-quorum"
	WordNotYet   = "not-yet"
)

const (
	typeTile      = "application/octet-stream"
	typeNote      = "text/plain; charset=utf-8"
	tileLifetime  = "max-age=31536000, immutable"
	tilePathBytes = 200
)

func (s *Server) registerLedger() {
	read := route{need: token.Reader}
	add(s, read, get("ledger-status", "/v1/ledger/status", "How the region's ledger is: who leads, how far it is, who signed"), s.ledgerStatus)
	entry := get("get-ledger-entry", "/v1/ledger/entries/{id}", "Where a notice, an envelope or a trust record stands in the ledger")
	entry.Description = "Answered from this node's copy, with the checkpoint's age. With strong=true the leader is asked, " +
		"and 503 no-quorum says that too few voters can be reached."
	add(s, read, entry, s.ledgerEntry)
	receipt := answering(get("get-receipt", "/v1/ledger/receipts/{id}", "A notice in a file that also proves its place in the ledger"), ProofType, binary())
	receipt.Description = "As the notice's proof, and with it the ledger's inclusion proof and signed checkpoint. 409 not-yet: ask again. " +
		"Where split of ledger-status is true the receipt holds what its signers said, and they have said another thing elsewhere."
	add(s, read, receipt, s.ledgerReceipt)
	transfer := post[LedgerTransferRequest](s, "transfer-ledger", "/v1/ledger/transfer", "Let another voter lead; the leader's node only")
	add(s, route{need: token.Admin, body: true}, transfer, s.ledgerTransfer)

	tiles := read
	if s.c.LedgerPublic {
		tiles = route{open: true}
	}
	note := answering(get("get-checkpoint", "/ledger/{region}/{epoch}/checkpoint", "The ledger's latest checkpoint (C2SP tlog-checkpoint)"), "text/plain", nil)
	add(s, tiles, note, s.ledgerCheckpoint)
	tile := answering(get("get-tile", "/ledger/{region}/{epoch}/tile/{path...}", "A tile of the ledger (C2SP tlog-tiles)"), typeTile, binary())
	add(s, tiles, tile, s.ledgerTile)
}

type ledgerOutput struct{ Body LedgerView }

func (s *Server) ledgerStatus(ctx context.Context, _ *struct{}) (*ledgerOutput, error) {
	v, err := s.c.Node.LedgerStatus(ctx)
	if err != nil {
		return nil, err
	}
	v.Voters, v.Witnesses, v.Warnings = list(v.Voters), list(v.Witnesses), list(v.Warnings)
	v.Checkpoint.complete()
	return &ledgerOutput{v}, nil
}

// complete makes empty lists of missing ones.
func (c *LedgerCheckpoint) complete() {
	if c != nil {
		c.Signers, c.Witnesses = list(c.Signers), list(c.Witnesses)
	}
}

type ledgerEntryInput struct {
	ID     string `path:"id" maxLength:"64" doc:"Of a notice (40 digits), or of an envelope, record or charter (64)"`
	Strong bool   `query:"strong" doc:"Ask the leader, for the latest state"`
}

type ledgerEntryOutput struct{ Body LedgerEntry }

func (s *Server) ledgerEntry(ctx context.Context, in *ledgerEntryInput) (*ledgerEntryOutput, error) {
	if raw, err := hex.DecodeString(in.ID); err != nil || len(raw) != len(crypto.ItemID{}) && len(raw) != len(crypto.Hash{}) {
		return nil, problem(http.StatusUnprocessableEntity, "bad-parameter", "Not an id", "an id has 40 or 64 hexadecimal digits", "ids are shown by list and lookup").at("path.id", in.ID)
	}
	e, found, err := s.c.Node.LedgerEntry(ctx, strings.ToLower(in.ID), in.Strong, callerOf(ctx).ceiling)
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, (&idInput{in.ID}).missing()
	}
	e.Checkpoint.complete()
	return &ledgerEntryOutput{e}, nil
}

func (s *Server) ledgerReceipt(ctx context.Context, in *idInput) (*raw, error) {
	if err := in.check(); err != nil {
		return nil, err
	}
	file, found, err := s.c.Node.LedgerReceipt(ctx, in.ID, callerOf(ctx).ceiling)
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, in.missing()
	}
	return rawAnswer(ProofType, file), nil
}

type ledgerTransferOutput struct{ Body LedgerTransfer }

func (s *Server) ledgerTransfer(ctx context.Context, _ *struct{}) (*ledgerTransferOutput, error) {
	var q LedgerTransferRequest
	err := decodeBody(bodyOf(ctx), func(r *jsonReader) error {
		return r.object(func(key string) error {
			if key != "to" {
				return r.unknown(key, "to")
			}
			if r.null() {
				return nil
			}
			return r.parsed(&q.To, nil)
		})
	})
	if err != nil {
		return nil, err
	}
	done, err := s.c.Node.LedgerTransfer(ctx, q.To)
	if err != nil {
		return nil, err
	}
	s.log.Info("the ledger's lead was handed over", "to", done.Name, "by", callerOf(ctx).name)
	return &ledgerTransferOutput{done}, nil
}

type ledgerOrigin struct {
	Region string `path:"region" minLength:"64" maxLength:"64" doc:"Its 64 hexadecimal digits"`
	Epoch  uint32 `path:"epoch" minimum:"1"`
}

type ledgerTileInput struct {
	Region string `path:"region" minLength:"64" maxLength:"64" doc:"Its 64 hexadecimal digits"`
	Epoch  uint32 `path:"epoch" minimum:"1"`
	Path   string `path:"path" maxLength:"200" doc:"As C2SP tlog-tiles has it: 0/x001/234, entries/000.p/5"`
}

// tileAnswer is an answer of bytes with how long it may be kept.
type tileAnswer struct {
	ContentType string `header:"Content-Type" hidden:"true"`
	Length      string `header:"Content-Length" hidden:"true"`
	Cache       string `header:"Cache-Control" hidden:"true"`
	Body        []byte
}

func (s *Server) ledgerCheckpoint(ctx context.Context, in *ledgerOrigin) (*tileAnswer, error) {
	return s.serveLedger(ctx, in.Region, in.Epoch, "checkpoint")
}

func (s *Server) ledgerTile(ctx context.Context, in *ledgerTileInput) (*tileAnswer, error) {
	return s.serveLedger(ctx, in.Region, in.Epoch, "tile/"+in.Path)
}

func (s *Server) serveLedger(ctx context.Context, of string, epoch uint32, path string) (*tileAnswer, error) {
	missing := problem(http.StatusNotFound, "no-such-tile", "No such tile", "this node's copy of the ledger does not hold it",
		"it may not be written yet, or be of another region: GET /v1/ledger/status names the origin")
	region, err := hex.DecodeString(of)
	if err != nil || len(region) != len(crypto.Region{}) || len(path) > tilePathBytes {
		return nil, missing.at("path.region", of)
	}
	if _, err := tlog.ParsePath(path); err != nil && path != "checkpoint" {
		return nil, problem(http.StatusNotFound, "no-such-path", "No such path", "a ledger has no such path",
			"there are checkpoint, tile/LEVEL/N and tile/entries/N, or either tile with .p/WIDTH, as c2sp.org/tlog-tiles has them: tile/0/x001/234, tile/entries/000.p/5").at("path", path)
	}
	tile, found, err := s.c.Node.LedgerTile(ctx, crypto.Region(region), epoch, path)
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, missing.at("path", path)
	}
	out := &tileAnswer{ContentType: typeTile, Length: strconv.Itoa(len(tile.Body)), Cache: "no-cache", Body: tile.Body}
	if tile.Text {
		out.ContentType = typeNote
	}
	if tile.Full { // who has no token gets none of it from a cache either
		out.Cache = "private, " + tileLifetime
		if s.c.LedgerPublic {
			out.Cache = "public, " + tileLifetime
		}
	}
	return out, nil
}
