package api_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/notice"
)

// fakeDrills has one exercise, 7, which runs.
type fakeDrills struct {
	begun   string
	life    time.Duration
	by      string
	stopped bool
}

func (f *fakeDrills) StartExercise(_ context.Context, name string, life time.Duration, by string) (api.ExerciseView, error) {
	if name == "again" {
		return api.ExerciseView{}, &notice.FieldError{Field: "body", Reason: "the exercise runs already", Fix: "end it"}
	}
	f.begun, f.life, f.by = name, life, by
	return api.ExerciseView{Number: 7, Name: name}, nil
}

func (f *fakeDrills) StopExercise(context.Context) (api.AfterAction, error) {
	f.stopped = true
	return api.AfterAction{ExerciseView: api.ExerciseView{Number: 7}, Language: "de", Said: []api.ExerciseWord{}, Members: []api.ExerciseMember{}}, nil
}

func (f *fakeDrills) Exercises(context.Context) ([]api.ExerciseView, error) {
	return []api.ExerciseView{{Number: 7, Name: "LIS"}, {Number: 6, Ended: 1}}, nil
}

func (f *fakeDrills) Exercise(_ context.Context, number uint64) (api.AfterAction, bool, error) {
	return api.AfterAction{ExerciseView: api.ExerciseView{Number: max(number, 7)}}, number == 0 || number == 7, nil
}

// Admins hold exercises, nobody else; what is wrong is named.
func TestExercise(t *testing.T) {
	s := start(t, nil)
	for _, role := range []string{"reader", "reporter"} {
		for _, method := range []string{"POST", "GET", "DELETE"} {
			if a := s.ask(t, role, method, "/v1/exercise", map[string]string{"POST": `{}`}[method]); a.StatusCode != 403 {
				t.Errorf("a %s may %s: %d %s", role, method, a.StatusCode, a.body)
			}
		}
	}
	f := &s.node.fakeDrills
	if f.by != "" || f.stopped {
		t.Fatal("somebody without the right was heard")
	}
	a := s.ask(t, "admin", "POST", "/v1/exercise", `{"name":"LIS","for":"90m"}`)
	if a.StatusCode != http.StatusCreated || f.begun != "LIS" || f.life != 90*time.Minute || f.by != "admin" || !strings.Contains(a.body, `"number":7`) {
		t.Errorf("%d %s, %+v", a.StatusCode, a.body, f)
	}
	if a := s.ask(t, "admin", "POST", "/v1/exercise", `{}`); a.StatusCode != http.StatusCreated || f.life != api.ExerciseDefault {
		t.Errorf("without a word: %d %s for %s", a.StatusCode, a.body, f.life)
	}
	for body, location := range map[string]string{
		`{"for":"13h"}`: "body.for", `{"for":"-1h"}`: "body.for", `{"for":"0s"}`: "body.for", `{"for":"soon"}`: "body.for",
		`{"until":"2h"}`: "body.until", `{"name":"again"}`: "body", `{"name":7}`: "body.name",
	} {
		var p api.Problem
		a := s.ask(t, "admin", "POST", "/v1/exercise", body)
		a.decode(t, &p)
		if a.StatusCode != 422 || len(p.Errors) != 1 || p.Errors[0].Location != location || p.Fix == "" {
			t.Errorf("%s: %d %s", body, a.StatusCode, a.body)
		}
	}
	if a := s.ask(t, "admin", "GET", "/v1/exercise", ""); a.StatusCode != 200 || !strings.Contains(a.body, `"running":{"number":7,"name":"LIS"`) {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	for path, status := range map[string]int{"/v1/exercise/last": 200, "/v1/exercise/7": 200, "/v1/exercise/6": 404, "/v1/exercise/0": 422, "/v1/exercise/x": 422} {
		if a := s.ask(t, "admin", "GET", path, ""); a.StatusCode != status {
			t.Errorf("%s: %d %s", path, a.StatusCode, a.body)
		}
	}
	if a := s.ask(t, "admin", "DELETE", "/v1/exercise", ""); a.StatusCode != 200 || !f.stopped {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	if a := s.ask(t, "reporter", "POST", "/v1/notices?exercise=maybe", `{"value":"evil.example"}`); a.StatusCode != 422 {
		t.Errorf("exercise=maybe: %d %s", a.StatusCode, a.body)
	}
	for word, want := range map[string]string{"": "", "?exercise=auto": "", "?exercise=no": api.ExerciseNo, "?exercise=yes": api.ExerciseYes} {
		s.ask(t, "reporter", "POST", "/v1/notices"+word, `{"value":"evil.example"}`)
		if s.node.options.Exercise != want {
			t.Errorf("%q becomes %q", word, s.node.options.Exercise)
		}
	}
}
