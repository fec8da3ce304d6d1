package limit

// Priority is what goes first when not all can be served, for kit/limit/admission and kit/limit/shed. The zero value is Normal.
type Priority int8

// The priorities. What is below Low counts as Low, what is above Critical as Critical.
const (
	Low      Priority = iota - 1 // batches, prefetches: given up first
	Normal                       // unless said otherwise
	High                         // somebody waits for it
	Critical                     // given up last: what keeps others alive
)

var priorityWords = [...]string{"low", "normal", "high", "critical"}

// String returns the word of documents and logs.
func (p Priority) String() string { return priorityWords[min(max(p, Low), Critical)-Low] }

// ParsePriority returns the priority of a word, and Normal and false of what is none.
func ParsePriority(word string) (Priority, bool) {
	for i, w := range priorityWords {
		if w == word {
			return Priority(i) + Low, true
		}
	}
	return Normal, false
}
