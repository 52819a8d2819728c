package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/notice"
)

// hostile is text that no node writes, and one that is attacked or replaced may.
const hostile = "x\x1b[2J\x1b]0;t\a\u009b2J\u202eevil\u2066\u200b\u3164\u034f\r\n\x7f<script>&"

// poison puts hostile text wherever an answer has text, and one of each that it has
// lists of.
func poison(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(hostile)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		poison(v.Elem())
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range v.Len() {
			poison(v.Index(i))
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				poison(v.Field(i))
			}
		}
	case reflect.Int64, reflect.Int, reflect.Uint32, reflect.Uint64, reflect.Uint8:
		if v.CanInt() {
			v.SetInt(1_700_000_000_000)
		} else {
			v.SetUint(7)
		}
	case reflect.Bool:
		v.SetBool(true)
	}
}

// TestAnswersMoveNoCursor: whatever a node answers, nothing that a command prints of it
// moves a cursor, reorders or hides text, on a terminal or in JSON.
func TestAnswersMoveNoCursor(t *testing.T) {
	kinds := append([]notice.Kind{0}, notice.Kinds()...)
	var kind notice.Kind
	var state string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var answer any
		switch path := r.URL.Path; {
		case strings.HasSuffix(path, "/ledger/status"):
			answer = &api.LedgerView{}
		case strings.HasSuffix(path, "/situation"):
			answer = &api.Situation{}
		case strings.HasSuffix(path, "/status"):
			answer = &api.Status{}
		case strings.HasSuffix(path, "/members"):
			answer = &api.MembersAnswer{}
		case strings.HasSuffix(path, "/alerts"):
			answer = &api.AlertsAnswer{}
		case strings.HasSuffix(path, "/notices"):
			answer = &api.NoticesAnswer{}
		case strings.Contains(path, "/notices/"):
			answer = &api.NoticeAnswer{}
		case strings.Contains(path, "/indicators"):
			answer = &api.IndicatorView{}
		case strings.HasSuffix(path, "/lookup"):
			answer = &api.LookupAnswers{}
		case strings.HasSuffix(path, "/tokens"):
			answer = &api.TokensAnswer{}
		case strings.HasSuffix(path, "/policies"):
			answer = &api.PoliciesAnswer{}
		case strings.HasSuffix(path, "/advisories"):
			answer = &api.AdvisoriesAnswer{}
		case strings.Contains(path, "/advisories/"):
			answer = &api.AdvisoryView{}
		case strings.HasSuffix(path, "/incidents"):
			answer = &api.IncidentsAnswer{}
		case strings.Contains(path, "/incidents/"):
			answer = &api.IncidentView{}
		case strings.HasSuffix(path, "/exercise"):
			answer = &api.ExerciseAnswer{}
		case strings.Contains(path, "/exercise/"):
			answer = &api.ExerciseView{}
		case strings.HasSuffix(path, "/bridges"):
			answer = &api.BridgesAnswer{}
		case strings.Contains(path, "/bridges/"):
			answer = &api.BridgeDetail{}
		default:
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(http.StatusTeapot)
			_ = json.NewEncoder(w).Encode(map[string]string{"title": hostile, "detail": hostile, "fix": hostile})
			return
		}
		poison(reflect.ValueOf(answer).Elem())
		shape(answer, kind, state)
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(answer)
	}))
	defer s.Close()
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("ww_"+strings.Repeat("a", 43)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	id := strings.Repeat("0a", 20)
	for _, line := range []string{
		"situation --since 1h --ids", "list", "show " + id, "show evil.example", "alerts", "members", "status", "lookup evil.example",
		"profile show", "assist list", "link list", "token list", "ledger status",
		"allow --list", "deny evil.example",
		"list advisory", "incident list", "incident show 2026-1", "exercise", "exercise show", "bridge list", "bridge show isac",
	} {
		printed := 0
		for _, json := range []bool{false, true} {
			for _, kind = range kinds {
				for _, state = range []string{"", "request", "UNDER-ATTACK", "DECLARED-DOWN", "SILENT", "open", "closed"} {
					args := append(strings.Fields(line), "--api", s.URL, "--token-file", token)
					if json {
						args = append(args, "--json")
					}
					var out, errOut bytes.Buffer
					run(t.Context(), args, strings.NewReader(""), &out, &errOut)
					text := out.String() + errOut.String()
					if printed += out.Len(); json && printed == 0 {
						t.Errorf("watchward %s prints nothing: %s", line, errOut.String())
					}
					for i, l := range strings.Split(text, "\n") {
						if !notice.Printable(strings.ReplaceAll(l, "\ufffd", "")) { // which stands for what was there
							t.Errorf("watchward %s (%s, %q) prints in line %d: %+q", line, kind, state, i+1, l)
						}
					}
				}
			}
		}
		t.Logf("watchward %s: %d bytes", line, printed)
	}
}

// shape gives an answer a kind and states that commands know, so that all that they
// print is printed.
func shape(answer any, kind notice.Kind, state string) {
	view := func(v *api.NoticeView) {
		if kind != 0 {
			v.Kind = kind.String()
		}
		if state != "" && v.Assistance != nil {
			v.Assistance.Act = state
		}
	}
	switch a := answer.(type) {
	case *api.NoticesAnswer:
		for i := range a.Notices {
			view(&a.Notices[i])
		}
		a.Next = ""
	case *api.NoticeAnswer:
		view(&a.NoticeView)
	case *api.PoliciesAnswer:
		a.Next = ""
	case *api.AlertsAnswer:
		a.Next = ""
	case *api.Situation:
		for i := range a.Members {
			a.Members[i].State = state
		}
		for i := range a.Assistance {
			a.Assistance[i].Act = state
		}
	}
}
