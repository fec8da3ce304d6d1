package h1

// Limits bound what a peer can make a codec read or keep. Zero means the default named beside each. A codec holds a
// pointer: fill in one Limits per listener or cluster with NewLimits and share it.
type Limits struct {
	// HeadBytesMax bounds the start line and the fields together (431). 32 kB: what browsers with fat cookies need, and
	// small enough that a thousand half-sent heads are 32 MB.
	HeadBytesMax int
	// TargetBytesMax bounds the request target (414). 8 kB: RFC 9110 4.1 asks for at least 8000 octets.
	TargetBytesMax int
	// FieldsMax bounds the number of field lines of a head, and of a trailer section (431). 100, as Apache has it:
	// work per field elsewhere is multiplied by this number.
	FieldsMax int
	// ChunkLineBytesMax bounds one chunk-size line with its extensions. 256: a size takes 16, a signature about 90.
	ChunkLineBytesMax int
	// ExtensionBytesMax bounds the bytes of chunk extensions that a body may be ahead of its data: each chunk gives back
	// a sixteenth of its size. 16 kB. Extensions are dropped, so a body made of them costs us and nobody else
	// (CVE-2023-39326).
	ExtensionBytesMax int
	// TrailerBytesMax bounds the trailer section (431). 8 kB.
	TrailerBytesMax int
	// InterimMax bounds the interim responses before a final one. 16: no more than a few 103 are of use.
	InterimMax int
}

// NewLimits returns a copy of l in which zeros are replaced by the defaults.
func NewLimits(l Limits) *Limits {
	fill := func(v *int, standard int) {
		if *v == 0 {
			*v = standard
		}
	}
	fill(&l.HeadBytesMax, 32<<10)
	fill(&l.TargetBytesMax, 8<<10)
	fill(&l.FieldsMax, 100)
	fill(&l.ChunkLineBytesMax, 256)
	fill(&l.ExtensionBytesMax, 16<<10)
	fill(&l.TrailerBytesMax, 8<<10)
	fill(&l.InterimMax, 16)
	return &l
}

// Limits that follow from the protocol or from a representation of ours, so that there is nothing to choose.
const (
	// methodBytesMax: the longest registered method (UPDATEREDIRECTREF) has 17 letters.
	methodBytesMax = 32
	// hostBytesMax: a DNS name has at most 253 characters, a port 5.
	hostBytesMax = 260
	// connectionOptionsMax: each option is compared with each field, so that without a bound a head of 32 kB could ask
	// for a million comparisons.
	connectionOptionsMax = 32
	// outstandingMax: one bit for each unanswered request is kept in a word.
	outstandingMax = 64
)
