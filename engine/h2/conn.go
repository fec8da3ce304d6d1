package h2

import (
	"github.com/yumen-io/yumen/engine/buf"
	"github.com/yumen-io/yumen/engine/h2/block"
	"github.com/yumen-io/yumen/engine/message"
)

// conn is what both sides of the protocol share.
type conn struct {
	// Set at birth.
	limits *Limits
	server bool

	// What is being read.
	state      readState
	prefaceLen uint8 // of it that has come
	begun      bool  // the peer's first SETTINGS have
	settled    bool  // and are over
	frame      frame
	unread     int          // bytes of the frame's payload, without padding
	pad        int          // bytes of padding behind them
	body       *stream      // whose DATA it is; nil: nobody's, they are dropped
	block      headerBlock  // the header block that is being read
	reader     block.Reader // and what decodes it
	changes    changes
	pace       int  // bytes without an event before Next stops; 0: any number
	paused     bool // Next stopped for that

	// The peer.
	peer   peerSettings
	acked  bool // it has our SETTINGS
	losing bool // its GOAWAY is to be told of
	purse  purse

	// Streams.
	streams  table
	free     *stream
	freeLen  int
	graves   graves
	lastPeer uint32 // the highest stream that the peer opened

	// Flow control; see Took.
	recvWindow int32 // what the peer may still send
	owed       int32 // what was consumed and has not been given back
	sendWindow int64

	// What is being sent.
	writer    block.Writer
	schedule  schedule
	queued    int      // bytes in the queues of all streams
	drained   []uint32 // streams that NextDrained is to tell of, from drainedAt on
	drainedAt int
	appended  uint64 // bytes, ever
	replies   replies
	last      lastFrame

	// The end.
	lastServed uint32           // the highest stream of the peer's that was not refused for its number
	leaving    bool             // GOAWAY was sent
	left       bool             // with the number of the last stream
	fatal      *message.Refusal // why nothing is read any more
	told       *message.Refusal // why the stream of the GotReset before was given up; nil if the peer did so
}

// lastFrame is where the flags of the frame that was appended last lie, as long as that is certain: an end that follows at
// once is one bit there instead of a frame of its own.
type lastFrame struct {
	flags    *byte
	stream   uint32
	outLen   int
	appended uint64
}

type readState uint8

const (
	atPreface readState = iota
	atFrame
	atPayload  // the frame's head is read, and accepted
	inSettings // between two settings
	inBlock    // in a fragment of a header block
	inData
	inRest // what is left of the frame, padding included, is skipped
)

func (c *conn) init(l *Limits, server bool) {
	*c = conn{limits: l, server: server, state: atFrame}
	c.recvWindow, c.sendWindow = int32(l.ConnWindow), windowStart
	c.peer = peerSettings{streams: assumedStreams, streamWindow: windowStart, frameBytes: frameBytesLeast, lastServed: idMax}
	c.reader.Init(&l.Block)
	c.writer.Init()
}

// start sends our SETTINGS, which begin with those that only one side has, and opens the connection's window.
func (c *conn) start(out *buf.Chain, p *buf.Pool, own ...setting) {
	var list [10]setting
	all := append(list[:0], own...)
	all = append(all, setting{initialWindowSize, uint32(c.limits.StreamWindow)},
		setting{headerListSize, uint32(c.limits.Block.ListBytesMax)})
	if n := c.limits.FrameBytesMax; n != frameBytesLeast {
		all = append(all, setting{maxFrameSize, uint32(n)})
	}
	if n := c.limits.Block.TableBytesMax; n != tableStart {
		all = append(all, setting{headerTableSize, n})
	}
	c.appendSettings(out, p, all...)
	if n := c.limits.ConnWindow - windowStart; n > 0 {
		c.append32(out, p, typeWindowUpdate, 0, uint32(n))
	}
}

// tableStart is the size of the table of header fields that every connection begins with (RFC 9113 6.5.2).
const tableStart = 4096

// next reads until there is an event, or nothing more to read.
func (c *conn) next(in, out *buf.Chain, p *buf.Pool, h *message.Head) (message.Event, error) {
	if c.broken() {
		return message.Event{}, c.fatal
	}
	c.paused = false
	for begun := in.Len(); ; {
		if c.losing {
			return c.lose(p), nil
		}
		e, more, f := c.step(in, out, p, h)
		if f != nil {
			return message.Event{}, c.fail(out, p, f)
		}
		if more || e.Kind != message.None {
			return e, nil
		}
		if c.pace > 0 && begun-in.Len() >= c.pace && in.Len() > 0 {
			c.paused = true
			return message.Event{}, nil
		}
	}
}

// Pace has Next stop after about n bytes that made no event, of frames that cost work and give nothing to do: whoever has
// other connections to serve goes on with this one later. 0, as at first, is no pace.
func (c *conn) Pace(n int) { c.pace = n }

// Paused tells of a Next that returned None that it stopped for the sake of the pace, and there is more to read.
func (c *conn) Paused() bool { return c.paused }

// step reads the next part of a frame. more tells that it is not there yet.
func (c *conn) step(in, out *buf.Chain, p *buf.Pool, h *message.Head) (e message.Event, more bool, f *fault) {
	switch c.state {
	case atPreface:
		return c.readPreface(in, p)
	case atFrame:
		if in.Len() < frameHeadLen {
			return e, true, nil
		}
		c.frame = parseFrame(in.Pull(p, frameHeadLen))
		in.Skip(p, frameHeadLen)
		c.unread, c.pad = c.frame.length, 0
		c.state = atPayload
		return e, false, c.judge()
	case atPayload:
		return c.payload(in, out, p, h)
	case inSettings:
		if c.unread == 0 {
			c.state = atFrame
			return e, false, c.endSettings(out, p)
		}
		if in.Len() < settingLen {
			return e, true, nil
		}
		f = c.setting(parseSetting(in.Pull(p, settingLen)))
		c.skip(in, p, settingLen)
		return e, false, f
	case inBlock:
		return c.readBlock(in, out, p, h)
	case inData:
		return c.readData(in, out, p)
	}
	// The rest of a frame.
	n := min(c.unread+c.pad, in.Len())
	in.Skip(p, n)
	c.pad -= max(0, n-c.unread)
	c.unread = max(0, c.unread-n)
	if c.unread+c.pad > 0 {
		return e, true, nil
	}
	c.state = atFrame
	return e, false, nil
}

// skip takes n bytes of the payload, which were read.
func (c *conn) skip(in *buf.Chain, p *buf.Pool, n int) {
	in.Skip(p, n)
	c.unread -= n
}

// judge decides by a frame's head whether it can stand here.
func (c *conn) judge() *fault {
	fr := c.frame
	switch {
	case !c.begun && (fr.kind != typeSettings || fr.has(flagAck)):
		return noSettings // RFC 9113 3.4
	case fr.length > c.limits.FrameBytesMax:
		return largeFrame
	case c.block.open && (fr.kind != typeContinuation || fr.stream != c.block.stream):
		return brokenBlock // RFC 9113 6.10
	}
	c.begun = true
	switch fr.kind {
	case typeData, typeHeaders, typePriority, typeReset, typeContinuation:
		if fr.stream == 0 {
			return badStream
		}
	case typeSettings, typePing, typeGoAway, typePriorityUpdate:
		if fr.stream != 0 {
			return badStream
		}
	}
	size := true
	switch fr.kind {
	case typeReset:
		size = fr.length == resetLen
	case typePing:
		size = fr.length == pingLen
	case typeWindowUpdate:
		size = fr.length == windowUpdateLen
	case typeGoAway:
		size = fr.length >= goAwayLen
	case typePriorityUpdate:
		size = fr.length >= priorityUpdateLenLeast
	case typePushPromise:
		return pushed
	case typeContinuation:
		if !c.block.open {
			return strayContinuation
		}
	}
	if !size {
		return badFrameSize
	}
	if fr.kind == typePriorityUpdate && !c.server {
		return badStream // RFC 9218 7.1
	}
	return nil
}

// payload reads the beginning of a payload, or, of most types, all of it that matters.
func (c *conn) payload(in, out *buf.Chain, p *buf.Pool, h *message.Head) (e message.Event, more bool, f *fault) {
	need := 0
	switch c.frame.kind {
	case typeData:
		return c.beginData(in, out, p)
	case typeHeaders:
		return c.beginHeaders(in, out, p, h)
	case typeContinuation:
		c.state = inBlock
		return e, false, c.continueBlock()
	case typeSettings:
		c.state = inSettings
		if c.frame.has(flagAck) {
			c.state = atFrame
		}
		return e, false, c.beginSettings()
	case typePriority:
		need = min(c.unread, priorityLen)
	case typeReset, typePing, typeWindowUpdate:
		need = c.unread
	case typeGoAway:
		need = goAwayLen
	case typePriorityUpdate:
		need = min(c.unread, priorityUpdateLenLeast+priorityBytesMax+1)
	default:
		c.state = inRest
		return e, false, c.spend(useless, 1)
	}
	if in.Len() < need {
		return e, true, nil
	}
	b := in.Pull(p, need)[:need]
	switch c.frame.kind {
	case typePriority:
		e, f = c.gotPriority(out, p, b)
	case typeReset:
		e, f = c.gotReset(p, b)
	case typePing:
		f = c.gotPing(out, p, b)
	case typeWindowUpdate:
		e, f = c.gotWindowUpdate(out, p, b)
	case typeGoAway:
		f = c.gotGoAway(b)
	case typePriorityUpdate:
		f = c.gotPriorityUpdate(b)
	}
	c.skip(in, p, need)
	c.state = inRest
	return e, false, f
}

// padded reads the length of the padding from b, the payload's first byte, if the frame has one.
func (c *conn) padded(b []byte) *fault {
	if !c.frame.has(flagPadded) {
		return nil
	}
	c.pad = int(b[0])
	return c.spend(padding, c.pad)
}

// idle tells whether nobody has opened a stream yet.
func (c *conn) idle(id uint32) bool {
	if id&1 == 0 {
		return true // only a server could, by a push
	}
	return id > c.lastPeer
}

// Settled tells whether the peer's SETTINGS have come: it speaks HTTP/2, and has said what it allows.
func (c *conn) Settled() bool { return c.settled }

// Open returns the number of streams that are open in either direction.
func (c *conn) Open() int { return c.streams.n }

// Idle tells that no stream is open and no frame is half read.
func (c *conn) Idle() bool { return c.streams.n == 0 && !c.block.open && c.state == atFrame }

// InBlock tells that a header block is half read: the Head that Next was given is being written to.
func (c *conn) InBlock() bool { return c.block.open }

// Refusal tells why a request is refused (GotRefusal), until its stream is gone, or why a stream was given up whose
// GotReset was the event before; nil if the peer did that.
func (c *conn) Refusal(stream uint32) *message.Refusal {
	if s := c.streams.get(stream); s != nil {
		return s.refusal
	}
	return c.told
}

// EOF says what it means that the peer has closed its side, once Next has returned None: nil if no stream was open, else a
// refusal. Which requests are lost by it the caller knows.
func (c *conn) EOF() error {
	switch {
	case c.broken():
		return c.fatal
	case c.streams.n > 0:
		return truncated.Refusal
	}
	return nil
}

// Release gives back what the codec holds of p, when the connection is closed. Nothing is to be called behind it but Init.
func (c *conn) Release(p *buf.Pool) {
	for _, s := range c.streams.slots {
		if s != nil {
			s.queue.Release(p)
		}
	}
	*c = conn{limits: c.limits, server: c.server, fatal: truncated.Refusal}
}
