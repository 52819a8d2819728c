package ledger

import "time"

// Times of reading the tree again.
const (
	scrubEvery = 24 * time.Hour
	scrubPause = 20 * time.Millisecond // between two reads, and four times as long as one took
)

// scrub reads the trees of a mirror when it starts and once a day, and fetches again what
// is damaged: a proof that nobody asks for today may be asked for in years, when nobody
// else has the tile any more. Voters do so before they lead.
func (f *follower) scrub() {
	for {
		for _, t := range f.tracks() {
			for at := uint64(0); at < t.tree.Size() && !t.votes(); {
				to, begun := min(at+readAtOnce, t.tree.Size()), time.Now()
				_, err := t.tree.Entries(at, to)
				if err == nil || !f.mend(f.ctx, t, err) {
					at = to // what nobody gives now is tried again tomorrow
				}
				if !f.sleep(max(scrubPause, 4*time.Since(begun))) {
					return
				}
			}
		}
		if !f.sleep(scrubEvery) {
			return
		}
	}
}
