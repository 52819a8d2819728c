package taxii

import (
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/watchward/watchward/node/intel"
)

// An Error is an answer that says no, as section 3.6 of the specification has it.
type Error struct {
	Status      int    // of HTTP
	Code        string // a stable word
	Title       string // what kind of problem it is
	Description string // what is wrong here, and what to do about it

	// Header goes along: WWW-Authenticate, Allow, Retry-After. May be nil.
	Header http.Header
}

func (e *Error) Error() string { return e.Title + ": " + e.Description }

func refusal(status int, code, title, description string) *Error {
	return &Error{Status: status, Code: code, Title: title, Description: description}
}

func (e *Error) with(key, value string) *Error {
	if e.Header == nil {
		e.Header = http.Header{}
	}
	e.Header.Set(key, value)
	return e
}

func badRequest(code, description string) *Error {
	return refusal(http.StatusBadRequest, code, "The request is refused", description)
}

func notFound(code, description string) *Error {
	return refusal(http.StatusNotFound, code, "Not found", description)
}

func forbidden(code, description string) *Error {
	return refusal(http.StatusForbidden, code, "Not allowed", description)
}

func tooLarge(description string) *Error {
	return refusal(http.StatusRequestEntityTooLarge, "too-large", "Too much at once", description)
}

func busy() *Error {
	return refusal(http.StatusServiceUnavailable, "busy", "Too busy", "too many large requests at once: try again in a moment").with("Retry-After", "1")
}

// write answers with the error. http_status is a string: so the specification has it.
func (e *Error) write(w http.ResponseWriter) {
	for key, values := range e.Header {
		w.Header()[key] = values
	}
	answer(w, e.Status, struct {
		Title       string `json:"title"`
		Description string `json:"description,omitempty"`
		Code        string `json:"error_code,omitempty"`
		Status      string `json:"http_status"`
	}{e.Title, e.Description, e.Code, strconv.Itoa(e.Status)})
}

// answer sends a resource.
func answer(w http.ResponseWriter, status int, resource any) {
	body, err := json.Marshal(resource)
	if err != nil {
		panic(err) // a resource of ours is plain text and numbers
	}
	send(w, status, body)
}

func send(w http.ResponseWriter, status int, body []byte) {
	h := w.Header()
	h.Set("Content-Type", MediaType)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // nobody is left to tell when the client is gone
}

// shorten makes what a client sent fit to be shown.
func shorten(s string) string { return intel.Show(s) }
