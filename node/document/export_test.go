package document

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
	Send    = send
	Receive = receive
	Decode  = decode
	ListOf  = listOf
	All     = first
)

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
