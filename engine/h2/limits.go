package h2

import "github.com/yumen-io/yumen/engine/h2/block"

// Limits bound what a peer can make a codec read, keep or answer. Zero means the default named beside each. A codec holds a
// pointer: fill in one Limits per listener or cluster with NewLimits and share it.
//
// Budgets, the fields from ResetsMax on, bound what costs us and is of no use: each such frame takes from its budget, useful
// work gives some back, and so does Refill. A peer that has used up one is told ENHANCE_YOUR_CALM.
type Limits struct {
	// Block bounds header blocks.
	Block block.Limits
	// StreamsMax bounds the requests that a client may have open at a time. 100: what RFC 9113 6.5.2 recommends as the least.
	StreamsMax int
	// StreamWindow is how many bytes of a body may be under way or unconsumed. 256 kB: 20 ms of a road of 100 Mbit/s. It is
	// never below 65535, with which every stream begins until the peer has read our SETTINGS.
	StreamWindow int
	// ConnWindow is the same for all streams of a connection together, and so bounds the memory that bodies of one peer
	// take. 1 MB: four streams at their fastest. Never below 65535 either.
	ConnWindow int
	// FrameBytesMax bounds the payload of one frame. 16384: the least that is allowed, and a larger one gains nothing here.
	FrameBytesMax int
	// ContinuationsMax bounds the CONTINUATION frames of a header block. 16: peers fill their frames, and three full ones hold
	// the largest head (CVE-2024-27316).
	ContinuationsMax int
	// BlockBytesMax bounds a header block as it is encoded, also one that is refused already and only decoded to keep the
	// compression in step. 64 kB, twice what a head may have in clear.
	BlockBytesMax int
	// InterimMax bounds the interim responses before a final one. 16, as in HTTP/1.
	InterimMax int
	// RepliesBytesMax bounds the answers to control frames that wait because the peer does not read. 64 kB are 3800 PINGs.
	RepliesBytesMax int

	// ResetsMax: streams that the client reset before their response began (CVE-2023-44487), and those that the peer's faults
	// made us reset (CVE-2025-8671), ahead of the requests that were completed. 200: two full sets of streams, which is
	// what a browser can drop by leaving a page.
	ResetsMax int
	// EmptyDataMax: DATA frames without data that do not end a stream, ahead of those with data. 100.
	EmptyDataMax int
	// SettingsMax: SETTINGS frames, ahead of the requests. 50: most peers send one, few a second.
	SettingsMax int
	// PingsMax: PING frames, ahead of requests and DATA frames. 500: some peers measure the road with them at each burst.
	PingsMax int
	// PrioritiesMax: PRIORITY and PRIORITY_UPDATE frames, ahead of the requests. 500: Firefox sent six at the start, a page
	// may change all its streams a few times.
	PrioritiesMax int
	// WindowUpdatesMax: WINDOW_UPDATE frames, two for each DATA frame that its window did not cut down to a crumb. 1000.
	WindowUpdatesMax int
	// UselessMax: frames that mean nothing: of unknown types, acknowledgements of nothing, repeated GOAWAY, RST_STREAM and
	// heads on streams that are gone. 500: extensions may be tried out, and two full sets of streams be reset at once by
	// both sides.
	UselessMax int
	// PaddingBytesMax: bytes of padding, ahead of those of data. 64 kB.
	PaddingBytesMax int

	budgets [budgetCount]int32 // by kind
}

// NewLimits returns a copy of l in which zeros are replaced by the defaults.
func NewLimits(l Limits) *Limits {
	fill := func(v *int, standard int) {
		if *v == 0 {
			*v = standard
		}
	}
	l.Block = block.NewLimits(l.Block)
	fill(&l.StreamsMax, 100)
	fill(&l.StreamWindow, 256<<10)
	fill(&l.ConnWindow, 1<<20)
	l.StreamWindow = min(max(l.StreamWindow, windowStart), windowMax)
	l.ConnWindow = min(max(l.ConnWindow, windowStart), windowMax)
	fill(&l.FrameBytesMax, frameBytesLeast)
	l.FrameBytesMax = min(max(l.FrameBytesMax, frameBytesLeast), frameBytesMost)
	fill(&l.ContinuationsMax, 16)
	fill(&l.BlockBytesMax, 64<<10)
	fill(&l.InterimMax, 16)
	fill(&l.RepliesBytesMax, 64<<10)
	fill(&l.ResetsMax, 200)
	fill(&l.EmptyDataMax, 100)
	fill(&l.SettingsMax, 50)
	fill(&l.PingsMax, 500)
	fill(&l.PrioritiesMax, 500)
	fill(&l.WindowUpdatesMax, 1000)
	fill(&l.UselessMax, 500)
	fill(&l.PaddingBytesMax, 64<<10)
	for k, v := range [budgetCount]int{
		resets: l.ResetsMax, emptyData: l.EmptyDataMax, settings: l.SettingsMax, pings: l.PingsMax,
		priorities: l.PrioritiesMax, windowUpdates: l.WindowUpdatesMax, useless: l.UselessMax, padding: l.PaddingBytesMax,
	} {
		l.budgets[k] = int32(min(v, 1<<30))
	}
	return &l
}

// Limits that follow from the protocol or from a representation of ours, so that there is nothing to choose.
const (
	idMax           = 1<<31 - 1 // RFC 9113 5.1.1
	windowMax       = 1<<31 - 1 // RFC 9113 6.9.1
	windowStart     = 1<<16 - 1 // RFC 9113 6.9.2
	frameBytesLeast = 1 << 14   // RFC 9113 6.5.2
	frameBytesMost  = 1<<24 - 1
	// outDirect: while less than this waits to be sent, DATA need not queue by stream, since nothing is gained by choosing
	// among streams so early.
	outDirect = 64 << 10
	// frameSend bounds the DATA frames that are sent, whatever the peer would take, so that streams interleave.
	frameSend = 16 << 10
	// queueLow is where a stream's queue, once it was above, is said to be drained.
	queueLow = 32 << 10
	// crumb: a DATA frame below it that its window cut earns nothing, so that a window opened byte by byte is paid for.
	crumb = 1 << 10
	// priorityBytesMax: "u=0, i" is what a priority takes; what is longer is not looked at.
	priorityBytesMax = 64
	// assumedStreams is what a client may open before the server's SETTINGS told how many.
	assumedStreams = 100
	// freeKept bounds the stream records, and tableKept the table's slots, that a connection without streams keeps: 3 kB.
	freeKept  = 16
	tableKept = 64
)
