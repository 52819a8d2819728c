package api

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/watchward/watchward/node/api/token"
	"github.com/watchward/watchward/node/notice"
)

// ExerciseNode is the part of a Node that holds drills. Errors may be a
// *notice.FieldError.
type ExerciseNode interface {
	// StartExercise begins one; it is durable then. Of a node there is one at a time.
	StartExercise(ctx context.Context, name string, life time.Duration, by string) (ExerciseView, error)
	// StopExercise ends the one that runs and returns what came of it.
	StopExercise(ctx context.Context) (AfterAction, error)
	// Exercises returns all that are kept, the last first.
	Exercises(ctx context.Context) ([]ExerciseView, error)
	// Exercise returns what came of one, or has so far; 0 is the last one.
	Exercise(ctx context.Context, number uint64) (AfterAction, bool, error)
}

// How what is said goes with an exercise that runs.
const (
	ExerciseAuto = "auto" // part of it, unless it has an origin
	ExerciseNo   = "no"
	ExerciseYes  = "yes" // also with an origin
)

// Bounds of exercises.
const (
	ExerciseNameMax = 80             // characters
	ExerciseMax     = 12 * time.Hour // how long one runs at most
	ExerciseDefault = 2 * time.Hour
)

// ExerciseRequest begins an exercise.
type ExerciseRequest struct {
	Name string `json:"name,omitempty" maxLength:"80" doc:"It stays in this house"`
	For  string `json:"for,omitempty" default:"2h" doc:"How long at most: 90m, 2h; up to 12h"`
}

// ExerciseBrief says that an exercise runs.
type ExerciseBrief struct {
	Name  string `json:"name,omitempty" doc:"For a ceiling from AMBER+STRICT on"`
	Until Time   `json:"until"`
}

// ExerciseCounts counts what the situation shows of drills.
type ExerciseCounts struct {
	Members    int `json:"members" doc:"Who said something in one"`
	Services   int `json:"services"`
	Assistance int `json:"assistance"`
	Links      int `json:"links"`
	Questions  int `json:"questions"`
}

// ExerciseView is an exercise of this house.
type ExerciseView struct {
	Number  uint64 `json:"number"`
	Name    string `json:"name"`
	By      string `json:"by,omitempty" doc:"The token that began it"`
	Started Time   `json:"started"`
	Until   Time   `json:"until" doc:"When it ends by itself"`
	Ended   Time   `json:"ended,omitempty" doc:"Missing: it runs"`
	Itself  bool   `json:"by_itself,omitempty" doc:"Nobody ended it: its time was over"`
}

// AfterAction is what came of an exercise: who saw, answered and acted, and when.
type AfterAction struct {
	ExerciseView
	Language string           `json:"language" doc:"Of this node, for whoever prints it"`
	Said     []ExerciseWord   `json:"said" doc:"What this house said in it, the first first"`
	Members  []ExerciseMember `json:"members" doc:"The others of the region, and who else spoke in it; who has not answered last"`
	More     int              `json:"more,omitempty" doc:"Words that had no room"`
}

// ExerciseWord is what this house said in an exercise.
type ExerciseWord struct {
	ID      string         `json:"id"`
	Kind    string         `json:"kind"`
	Text    string         `json:"text"`
	At      Time           `json:"at"`
	Answers map[string]int `json:"answers,omitempty" doc:"How many members answered so, the last answer of each"`
}

// ExerciseMember is what one member did in an exercise.
type ExerciseMember struct {
	Party
	Reached  Time           `json:"reached,omitempty" doc:"Since when its node is known to hold the first word; missing: it is not known, as of who is connected to others only"`
	Saw      Time           `json:"saw,omitempty" doc:"Its first sign"`
	Answered Time           `json:"answered,omitempty" doc:"Its first response"`
	Answers  int            `json:"answers" doc:"How many of what can be answered it has"`
	Asked    int            `json:"asked" doc:"How many words can be answered"`
	Acted    Time           `json:"acted,omitempty" doc:"When it first did more than answer: done, help, or a word of its own"`
	Did      []ExerciseDeed `json:"did" doc:"All of it, the first first"`
}

// ExerciseDeed is one word of another member in an exercise.
type ExerciseDeed struct {
	ID   string `json:"id"`
	At   Time   `json:"at"`
	Kind string `json:"kind"`
	Text string `json:"text"`
	Ref  string `json:"ref,omitempty" doc:"The word of this house that it speaks of"`
}

// ExerciseAnswer is the exercise that runs, and those that are kept.
type ExerciseAnswer struct {
	Running   *ExerciseView  `json:"running,omitempty" doc:"Missing: none"`
	Exercises []ExerciseView `json:"exercises" doc:"The last first; 100 are kept"`
}

func (s *Server) registerExercise() {
	admin := route{need: token.Admin, ceiling: notice.TLPAmberStrict}
	start := post[ExerciseRequest](s, "start-exercise", "/v1/exercise", "Begin an exercise: what this node says from now on is marked EXERCISE")
	start.Description = "A mayday is never part of it, nor is what has an origin: imports and hits of logs are real. It ends by itself."
	start.DefaultStatus = http.StatusCreated
	withBody := admin
	withBody.body = true
	add(s, withBody, start, s.startExercise)
	add(s, admin, get("get-exercises", "/v1/exercise", "The exercise that runs, and those before"), s.exercises)
	add(s, admin, operation(http.MethodDelete, "stop-exercise", "/v1/exercise", "End the exercise that runs"), s.stopExercise)
	add(s, admin, get("get-exercise", "/v1/exercise/{number}", "Who saw, answered and acted in an exercise"), s.exercise)
}

type exerciseOutput struct{ Body ExerciseView }

type afterActionOutput struct{ Body AfterAction }

type exercisesOutput struct{ Body ExerciseAnswer }

func (s *Server) startExercise(ctx context.Context, _ *struct{}) (*exerciseOutput, error) {
	var q ExerciseRequest
	err := decodeBody(bodyOf(ctx), func(r *jsonReader) error {
		return r.fields(map[string]*string{"name": &q.Name, "for": &q.For}, "name, for", func(string) (bool, error) { return false, nil })
	})
	if err != nil {
		return nil, err
	}
	life := ExerciseDefault
	if q.For != "" {
		if life, err = time.ParseDuration(q.For); err != nil || life <= 0 || life > ExerciseMax {
			return nil, &notice.FieldError{Field: "body.for", Reason: strconv.Quote(q.For) + " is not how long an exercise runs", Fix: "give a time such as 90m or 2h, at most 12h"}
		}
	}
	v, err := s.c.Node.StartExercise(ctx, q.Name, life, callerOf(ctx).name)
	if err != nil {
		return nil, err
	}
	return &exerciseOutput{v}, nil
}

func (s *Server) stopExercise(ctx context.Context, _ *struct{}) (*afterActionOutput, error) {
	v, err := s.c.Node.StopExercise(ctx)
	if err != nil {
		return nil, err
	}
	return &afterActionOutput{v}, nil
}

func (s *Server) exercises(ctx context.Context, _ *struct{}) (*exercisesOutput, error) {
	all, err := s.c.Node.Exercises(ctx)
	if err != nil {
		return nil, err
	}
	out := &exercisesOutput{ExerciseAnswer{Exercises: list(all)}}
	if len(all) > 0 && all[0].Ended == 0 {
		out.Body.Running = &all[0]
	}
	return out, nil
}

type exerciseInput struct {
	Number string `path:"number" maxLength:"20" doc:"Of the exercise, or last"`
}

func (s *Server) exercise(ctx context.Context, in *exerciseInput) (*afterActionOutput, error) {
	number, err := uint64(0), error(nil)
	if in.Number != "last" {
		if number, err = strconv.ParseUint(in.Number, 10, 64); err != nil || number == 0 {
			return nil, &notice.FieldError{Field: "path.number", Reason: strconv.Quote(in.Number) + " is no number of an exercise", Fix: "watchward exercise lists them; last is the last one"}
		}
	}
	v, found, err := s.c.Node.Exercise(ctx, number)
	if err != nil {
		return nil, err
	}
	switch {
	case !found && number == 0:
		return nil, problem(http.StatusNotFound, "not-found", "There is no such exercise", "no exercise was held here", "begin one: watchward exercise start")
	case !found:
		return nil, problem(http.StatusNotFound, "not-found", "There is no such exercise", "no exercise "+in.Number+" is kept here", "watchward exercise lists those that are")
	}
	return &afterActionOutput{v}, nil
}
