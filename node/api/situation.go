package api

import "context"

// Situation is the regional picture as one node has it, from local data alone. What is
// marked above the caller's ceiling is neither in it nor counted. Every figure carries
// the ids of the notices that it comes from.
type Situation struct {
	Name       string          `json:"name" doc:"Whose picture it is: this node's"`
	Region     string          `json:"region"`
	Now        Time            `json:"now" doc:"This node's clock"`
	Since      Time            `json:"since,omitempty" doc:"changes are since then; missing if not asked for"`
	Reading    bool            `json:"reading,omitempty" doc:"The node has just started and has not read all that it holds"`
	Counts     StateCounts     `json:"counts" doc:"Members of this region by state"`
	Exercise   *ExerciseCounts `json:"exercise,omitempty" doc:"What is here of drills, counted apart: nothing of it is in counts"`
	Members    []StateView     `json:"members"`
	Maydays    []MaydayView    `json:"maydays" doc:"Open ones, the newest first"`
	Services   []ServiceView   `json:"services" doc:"The last word on each department"`
	Assistance []HelpView      `json:"assistance" doc:"Requests and offers: what is open first; what is over is here for 72 h"`
	Suppliers  []SupplierView  `json:"suppliers" doc:"The link register, with who has cut a link to each supplier"`
	Questions  []QuestionView  `json:"questions" doc:"Of the last 7 days"`
	Spreading  []SpreadingView `json:"spreading" doc:"What was observed at several organisations within 72 h; what ended is here for 24 h"`
	Changes    []ChangeView    `json:"changes" doc:"What came here since the time asked for, the newest first"`
	Partial    []PartialView   `json:"partial" doc:"Members that say so much that not all of their sightings count"`
	More       []string        `json:"more" doc:"Lists that are cut to their newest"`
	Health     Health          `json:"health"`
}

// StateCounts counts members by state.
type StateCounts struct {
	UnderAttack  int `json:"under_attack"`
	DeclaredDown int `json:"declared_down"`
	Silent       int `json:"silent"`
	OK           int `json:"ok"`
}

// Add counts a member.
func (c *StateCounts) Add(state string) {
	switch state {
	case StateUnderAttack:
		c.UnderAttack++
	case StateDeclaredDown:
		c.DeclaredDown++
	case StateSilent:
		c.Silent++
	default:
		c.OK++
	}
}

// States of a member, the worst first. Silence is no attack.
const (
	StateUnderAttack  = "UNDER-ATTACK"
	StateDeclaredDown = "DECLARED-DOWN"
	StateSilent       = "SILENT"
	StateOK           = "OK"
)

// Party is a member.
type Party struct {
	Member string `json:"member"`
	Name   string `json:"name,omitempty"`
	Region string `json:"region,omitempty" doc:"If it is another than this node's"`
}

// Word is what all of these are: somebody said it.
type Word struct {
	ID string `json:"id"`
	Party
	Said     Time   `json:"said" doc:"By the author's clock; if that is known to be wrong, when it came"`
	TLP      string `json:"tlp"`
	Exercise bool   `json:"exercise,omitempty" doc:"Part of a drill"`
}

// ContactView is how to reach a member, from its profile.
type ContactView struct {
	Lines []string `json:"lines"`
	ID    string   `json:"id" doc:"Of the profile"`
}

// StateView is a member's state.
type StateView struct {
	Party
	State   string       `json:"state" enum:"UNDER-ATTACK,DECLARED-DOWN,SILENT,OK"`
	Since   Time         `json:"since,omitempty" doc:"Of SILENT: when it was heard last"`
	HeardBy string       `json:"heard_by,omitempty" doc:"Of SILENT: who heard it then"`
	IDs     []string     `json:"ids" doc:"Its own words that say so; none of SILENT and OK"`
	Contact *ContactView `json:"contact,omitempty"`
}

// MaydayView is an open mayday.
type MaydayView struct {
	Word
	Text     string        `json:"text"`
	ClockOff bool          `json:"clock_off,omitempty" doc:"Its author's clock is off"`
	Contact  *ContactView  `json:"contact,omitempty" doc:"Call back: a stolen key can lie"`
	Replaces string        `json:"replaces,omitempty"`
	Disputed []DisputeView `json:"disputed,omitempty" doc:"By coordinators of its region"`
}

// DisputeView says that somebody disputes a mayday.
type DisputeView struct {
	Word
	Reason string `json:"reason,omitempty"`
}

// ServiceView is the last word on a department.
type ServiceView struct {
	Word
	Service
	Past bool `json:"past,omitempty" doc:"until is over, and nothing was said since"`
}

// HelpView is a request for help or an offer, with all that belongs to it.
type HelpView struct {
	Word
	Assistance
	State     string       `json:"state" enum:"open,covered,closed,lapsed"`
	Confirmed uint64       `json:"confirmed" doc:"Of the quantity"`
	Claims    []ClaimView  `json:"claims,omitempty"`
	Offers    []Word       `json:"offers,omitempty" doc:"Made to this request"`
	Closed    string       `json:"closed,omitempty" doc:"Id of the word that closed it"`
	Refused   []RefusedAct `json:"refused,omitempty" doc:"What others said of it that was not theirs to say; it does not count"`
}

// ClaimView is a claim on some of it.
type ClaimView struct {
	Word
	Quantity uint32 `json:"quantity"`
	State    string `json:"state" enum:"waiting,confirmed,too late"`
	Confirm  string `json:"confirm,omitempty" doc:"Id of the word that confirmed it"`
}

// RefusedAct is an act that does not count.
type RefusedAct struct {
	Word
	Act string `json:"act"`
}

// SupplierView is what is known of the links to a supplier.
type SupplierView struct {
	Name string     `json:"supplier"`
	Cut  []Word     `json:"cut" doc:"Who has a link to it cut now, one a link"`
	Line []LinkView `json:"line" doc:"Time line, the newest first"`
}

// LinkView is one word of a time line.
type LinkView struct {
	Word
	Link
	Now bool `json:"now,omitempty" doc:"The last word on this link"`
}

// QuestionView is a question with its answers.
type QuestionView struct {
	Word
	Indicator Indicator    `json:"indicator"`
	Text      string       `json:"text,omitempty"`
	Answers   []AnswerView `json:"answers,omitempty"`
}

// AnswerView is a response, or a sighting of what was asked for.
type AnswerView struct {
	Word
	Answer   string `json:"answer" enum:"seen,not-seen,unknown"`
	Sighting bool   `json:"sighting,omitempty"`
}

// QuestionsAnswer has the questions of others that wait for an answer.
type QuestionsAnswer struct {
	Questions []OpenQuestion `json:"questions" doc:"The oldest first; members take turns"`
	More      int            `json:"more,omitempty" doc:"How many there are beside these"`
}

// OpenQuestion is a question with what this hospital knows itself.
type OpenQuestion struct {
	QuestionView
	Own *OwnSeen `json:"own,omitempty" doc:"What this hospital has seen of it; missing if nothing"`
}

// OwnSeen sums up a hospital's own sightings of a value, its parent names, the networks
// around it and the host of a URL.
type OwnSeen struct {
	Count  uint64   `json:"count" doc:"How often"`
	Last   Time     `json:"last_seen"`
	Kept   bool     `json:"kept,omitempty" doc:"None of it was shared: nobody else knows"`
	Values []string `json:"values" doc:"What was seen, four at most"`
	IDs    []string `json:"ids" doc:"The newest four"`
}

// SpreadingView is something that was observed at several organisations.
type SpreadingView struct {
	Kind      string     `json:"kind" enum:"indicator,malware" doc:"malware: a family or tool"`
	Type      string     `json:"type,omitempty" doc:"Of an indicator"`
	Value     string     `json:"value"`
	TLP       string     `json:"tlp" doc:"The strictest of its sightings"`
	Active    bool       `json:"active"`
	TakenBack bool       `json:"taken_back,omitempty" doc:"It ended since words were taken back"`
	Started   Time       `json:"started,omitempty"`
	Ends      Time       `json:"ends" doc:"72 h after the last sighting that it needs"`
	Seen      []SeenView `json:"seen" doc:"Who saw it, the first first"`
}

// SeenView says that a member saw it.
type SeenView struct {
	Party
	First     Time     `json:"first"`
	Last      Time     `json:"last"`
	TLP       string   `json:"tlp"`
	IDs       []string `json:"ids" doc:"The newest four"`
	TakenBack bool     `json:"taken_back,omitempty"`
}

// ChangeView is something that became known here.
type ChangeView struct {
	Party
	At   Time     `json:"at" doc:"When it came here"`
	Kind string   `json:"kind"`
	Text string   `json:"text"`
	IDs  []string `json:"ids"`
}

// PartialView is a member whose sightings count from a time on only.
type PartialView struct {
	Party
	Before Time `json:"before"`
}

// Health is how far the picture can be trusted: how this node is connected.
type Health struct {
	Ready    bool     `json:"ready"`
	Peers    int      `json:"peers" doc:"Open connections to members"`
	Members  int      `json:"members" doc:"Members known, this node included"`
	LastIn   Time     `json:"last_in,omitempty"`
	LastOut  Time     `json:"last_out,omitempty"`
	Waiting  int      `json:"waiting"`
	Warnings []string `json:"warnings"`
}

func (s *Server) registerSituation(read route) {
	o := get("get-situation", "/v1/situation", "Who is dark, who is under attack, who needs what, what spreads")
	o.Description = "From local data alone. What is marked above the token's ceiling is neither in it nor counted."
	add(s, read, o, s.situation)
	s.registerReport(read)
	s.registerPack(read)
	o = get("list-questions", "/v1/questions", "Questions of others that wait for an answer")
	o.Description = "Open questions that this hospital has answered neither by a response nor by a shared sighting. To answer: POST /v1/notices with a response."
	add(s, read, o, s.questions)
}

type questionsOutput struct{ Body QuestionsAnswer }

func (s *Server) questions(ctx context.Context, _ *struct{}) (*questionsOutput, error) {
	v, err := s.c.Node.Questions(ctx, callerOf(ctx).ceiling)
	v.Questions = list(v.Questions)
	return &questionsOutput{v}, err
}

type situationInput struct {
	Since string `query:"since" format:"date-time" doc:"Also what changed since then"`
}

type situationOutput struct{ Body Situation }

func (s *Server) situation(ctx context.Context, in *situationInput) (*situationOutput, error) {
	from, err := since(in.Since)
	if err != nil {
		return nil, err
	}
	v, err := s.c.Node.Situation(ctx, from, callerOf(ctx).ceiling)
	if err != nil {
		return nil, err
	}
	v.neverNull()
	return &situationOutput{v}, nil
}

// neverNull makes every list one, so that JSON has [] and never null.
func (v *Situation) neverNull() {
	v.Members, v.Maydays, v.Services, v.Assistance = list(v.Members), list(v.Maydays), list(v.Services), list(v.Assistance)
	v.Suppliers, v.Questions, v.Spreading, v.Changes = list(v.Suppliers), list(v.Questions), list(v.Spreading), list(v.Changes)
	v.Partial, v.More, v.Health.Warnings = list(v.Partial), list(v.More), list(v.Health.Warnings)
	for i := range v.Suppliers {
		v.Suppliers[i].Cut = list(v.Suppliers[i].Cut)
	}
}
