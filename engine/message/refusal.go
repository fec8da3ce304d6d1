package message

import "strconv"

// Refusal is a message that will not be served: the peer broke the protocol or a limit. Codecs hold theirs as variables,
// so that refusing allocates nothing. For a request, Status is what the client is told; for a response, the client is
// told 502 whatever Status says.
type Refusal struct {
	Status int    // 400, 408, 413, 414, 417, 431, 501, 505
	Reason string // one word for header, log and metric: "conflicting_length"
	Text   string // a sentence for people
}

// Error returns the sentence with the reason.
func (r *Refusal) Error() string {
	return "refused with " + strconv.Itoa(r.Status) + " (" + r.Reason + "): " + r.Text
}

// PathRefusals returns the refusals of NormalizePath, for the list of reasons.
func PathRefusals() []*Refusal {
	return []*Refusal{badPath, badEscape, controlInPath, encodedSlash, aboveRoot, dotParameter}
}
