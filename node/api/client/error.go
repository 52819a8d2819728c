package client

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/watchward/watchward/node/api"
)

// Exit codes of commands.
const (
	ExitNo          = 1 // none, some, or differs
	ExitUsage       = 2
	ExitUnreachable = 3
	ExitDenied      = 4
)

const shownMax = 10 // details shown of a problem

// Error is a call that did not succeed.
type Error struct {
	Problem     *api.Problem // what the node answered; nil if it did not
	Unreachable bool         // the node did not answer
	Denied      bool         // there is no token to ask with
	Err         error        // why there is no answer
}

// Error is what a person should read: what is wrong, where, and the fix.
func (e *Error) Error() string {
	if e.Problem == nil {
		return e.Err.Error()
	}
	p := e.Problem
	var b strings.Builder
	b.WriteString(p.Detail)
	if len(p.Errors) == 1 && p.Errors[0].Location != "" && !strings.Contains(p.Detail, p.Errors[0].Location) {
		fmt.Fprintf(&b, " (%s)", p.Errors[0].Location)
	}
	if p.Fix != "" {
		b.WriteString(": " + p.Fix)
	}
	if len(p.Errors) > 1 {
		for i, d := range p.Errors {
			if i == shownMax {
				fmt.Fprintf(&b, "\n  … and %d more", len(p.Errors)-i)
				break
			}
			fmt.Fprintf(&b, "\n  %s: %s", d.Location, d.Message)
			if d.Fix != "" && d.Fix != p.Fix {
				b.WriteString(": " + d.Fix)
			}
		}
	}
	return b.String()
}

// Unwrap returns the problem or the cause.
func (e *Error) Unwrap() error {
	if e.Problem != nil {
		return e.Problem
	}
	return e.Err
}

// ExitCode returns what a command should exit with for err, 0 for nil.
func ExitCode(err error) int {
	var e *Error
	switch {
	case err == nil:
		return 0
	case !errors.As(err, &e):
		return ExitNo
	case e.Unreachable:
		return ExitUnreachable
	case e.Denied:
		return ExitDenied
	case e.Problem == nil:
		return ExitNo
	}
	switch e.Problem.Status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusMisdirectedRequest:
		return ExitDenied
	case http.StatusBadRequest, http.StatusUnprocessableEntity, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType:
		return ExitUsage
	case http.StatusServiceUnavailable:
		if word := e.Problem.Word(); word == "unavailable" || word == api.WordNoQuorum { // it answered, and asking again does not help
			return ExitNo
		}
		return ExitUnreachable
	}
	return ExitNo
}
