package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"time"

	"github.com/watchward/watchward/node/logs"
	"github.com/watchward/watchward/node/logs/tail"
)

// watchFile says in a node's directory how far its logs are read. Whoever deletes it
// lets them be read from their start again.
const watchFile = "logs.json"

const watchFileMax = 64 << 20 // bytes

// A watchState is what is kept of a watch. Everything that follows from what it says
// was read is on disk.
type watchState struct {
	Logs []logState `json:"logs"`
	Hits hitsState  `json:"hits"`
}

// A logState is how far one source is read.
type logState struct {
	Name  string          `json:"name"`
	Path  string          `json:"path"`
	Files []fileState     `json:"files"`
	Done  []tail.Position `json:"done"`
}

type fileState struct {
	Path   string     `json:"path"`
	Format string     `json:"format"`
	At     tail.State `json:"at"`
}

// save writes down how far was read. What it cannot write it tries again; meanwhile
// more would be read again after a crash.
func (w *watch) save() {
	w.saved = time.Now()
	if err := w.hits.seen.flush(); err != nil { // so the lines are read again after a start
		if !w.unkept {
			w.n.log.Error("what the logs had is not in the history, so how far they are read is not kept either", slog.Any("err", err))
		}
		w.unkept = true
		return
	}
	w.unkept = false
	state := watchState{Hits: w.hits.state()}
	for _, s := range w.sources {
		if s == w.heardAt {
			continue
		}
		l := logState{Name: s.name, Path: s.path, Done: s.done}
		for _, f := range s.files {
			l.Files = append(l.Files, fileState{f.path, f.format.String(), f.where()})
		}
		state.Logs = append(state.Logs, l)
	}
	text, err := json.Marshal(state)
	if err == nil {
		err = writeFile(w.path, text, 0o600)
	}
	if err != nil {
		w.n.log.Error("how far the logs are read is not kept", slog.Any("err", err))
		return
	}
	w.changed = false
}

// recallState goes on where the last run ended. A file that cannot be read is put aside
// by reading all logs anew, which is said and does no harm.
func (w *watch) recallState() {
	state, err := readWatchState(w.path)
	if err != nil {
		w.n.log.Warn("how far the logs were read is not known, so they are read from their start", slog.Any("err", err))
		return
	}
	w.hits.recall(state.Hits)
	for _, l := range state.Logs {
		for _, s := range w.sources {
			if s.name != l.Name || s.path != l.Path {
				continue
			}
			s.done = l.Done
			for _, f := range l.Files {
				format, err := logs.ParseFormat(f.Format)
				if err != nil || s.format != logs.Auto {
					format = s.format
				}
				s.files = append(s.files, &logFile{path: f.Path, format: format, state: f.At})
			}
		}
	}
}

func readWatchState(path string) (state watchState, err error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return state, nil
	}
	if err == nil && info.Size() > watchFileMax {
		err = fmt.Errorf("%s has %d bytes: was it written by watchward?", path, info.Size())
	}
	if err != nil {
		return state, err
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return state, err
	}
	if err := json.Unmarshal(text, &state); err != nil {
		return watchState{}, fmt.Errorf("%s: %w", path, err)
	}
	return state, nil
}
