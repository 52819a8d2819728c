package document

import "io"

// What tests send as peers that lie.
type (
	Seek  = seek
	List  = list
	Have  = have
	Want  = want
	Chunk = chunk
	Later = later
)

var (
	Decode = decode
	ListOf = listOf
	All    = first
)

// Send writes one message.
func Send(w io.Writer, message any) error {
	if c, ok := message.(*chunk); ok {
		return sendChunk(w, int(c.Index), append(make([]byte, chunkHead), c.Data...))
	}
	return send(w, message)
}

// Receive reads one message of at most limit bytes.
func Receive(r io.Reader, limit int) (any, error) {
	return (&receiver{r: r, limit: limit}).next()
}

// Begin begins to fetch a document, and reports whether there was one.
func (d *Documents) Begin() bool { return d.begin() }

const (
	AnswerMax = answerMax
	AskMax    = askMax
)

// Samples has one message of each kind.
func Samples() map[byte]any {
	return map[byte]any{
		kindSeek: &seek{ID: Hash{1}, Chunks: Hash{2}, Size: 3}, kindList: &list{Hashes: make([]byte, 64)},
		kindHave: &have{Chunks: []byte{1}}, kindWant: &want{Chunks: []uint8{3}, Alone: true},
		kindChunk: &chunk{Index: 1, Data: []byte{1}}, kindLater: &later{Index: 2},
	}
}
