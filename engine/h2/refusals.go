package h2

import (
	"errors"

	"github.com/yumen-io/yumen/engine/h2/block"
	"github.com/yumen-io/yumen/engine/message"
)

// Errors of the sending side. ErrLongBody and ErrShortBody: the body did not keep to the length its head declared; the
// stream has to be reset then, so that what is cut stays recognisable as cut.
var (
	ErrLongBody  = errors.New("h2: sending a body: it is longer than its head declared")
	ErrShortBody = errors.New("h2: ending a body: it is shorter than its head declared")
	// ErrBusy: the connection cannot take a further request.
	ErrBusy = errors.New("h2: sending a request: too many are open, or the connection is closing")
	// ErrSwitch: a switch of protocols that was not asked for, or that the peer has not said it knows. Nothing was sent.
	ErrSwitch = errors.New("h2: switching protocols: the other side did not ask for it, or does not know how")
)

// fault is a refusal together with the error code that the peer is told.
type fault struct {
	*message.Refusal
	code uint32
}

func newFault(code uint32, reason, text string) *fault {
	return &fault{&message.Refusal{Status: 400, Reason: reason, Text: text}, code}
}

// Faults of the whole connection.
var (
	badPreface        = newFault(ProtocolError, "bad_preface", "the connection does not begin as HTTP/2 does")
	noSettings        = newFault(ProtocolError, "no_settings", "the first frame is not SETTINGS")
	largeFrame        = newFault(FrameSizeError, "large_frame", "a frame is larger than was allowed")
	badFrameSize      = newFault(FrameSizeError, "bad_frame_size", "a frame does not have the size of its type")
	badPadding        = newFault(ProtocolError, "bad_padding", "a frame's padding is longer than the frame")
	badStream         = newFault(ProtocolError, "bad_stream", "a frame stands on a stream where its type cannot be")
	idleStream        = newFault(ProtocolError, "idle_stream", "a frame stands on a stream that nobody opened")
	closedStream      = newFault(StreamClosed, "closed_stream", "a frame stands on a stream that was ended")
	brokenBlock       = newFault(ProtocolError, "broken_block", "another frame stands within a header block")
	strayContinuation = newFault(ProtocolError, "stray_continuation", "a CONTINUATION continues no header block")
	manyContinuations = newFault(EnhanceYourCalm, "many_continuations", "a header block has too many frames")
	largeBlock        = newFault(EnhanceYourCalm, "large_block", "a header block is too large")
	pushed            = newFault(ProtocolError, "pushed", "a request was pushed, which was forbidden or is not allowed")
	badSetting        = newFault(ProtocolError, "bad_setting", "a setting has a value that it cannot have")
	largeWindow       = newFault(FlowControlError, "large_window", "a window became larger than 2^31-1")
	emptyIncrement    = newFault(ProtocolError, "empty_increment", "a window was opened by nothing")
	overrun           = newFault(FlowControlError, "overrun", "more was sent than the window allowed")
	unreadReplies     = newFault(EnhanceYourCalm, "unread_replies", "too much is asked for and not read")
	manyResets        = newFault(EnhanceYourCalm, "many_resets", "too many requests were reset")
	manyEmptyData     = newFault(EnhanceYourCalm, "many_empty_data", "there are too many DATA frames without data")
	manySettings      = newFault(EnhanceYourCalm, "many_settings", "there are too many SETTINGS")
	manyPings         = newFault(EnhanceYourCalm, "many_pings", "there are too many PINGs")
	manyPriorities    = newFault(EnhanceYourCalm, "many_priorities", "priorities are changed too often")
	manyWindowUpdates = newFault(EnhanceYourCalm, "many_window_updates", "windows are opened in too small steps")
	manyUseless       = newFault(EnhanceYourCalm, "many_useless_frames", "there are too many frames that mean nothing")
	muchPadding       = newFault(EnhanceYourCalm, "much_padding", "there is too much padding")
)

// Faults of one stream.
var (
	halfClosed      = newFault(StreamClosed, "half_closed_stream", "a frame stands on a stream behind its end")
	manyStreams     = newFault(RefusedStream, "many_streams", "too many requests are open")
	selfDependent   = newFault(ProtocolError, "self_dependency", "a stream depends on itself")
	badPriority     = newFault(FrameSizeError, "bad_priority_size", "a PRIORITY frame does not have five bytes")
	endlessTrailers = newFault(ProtocolError, "endless_trailers", "trailers do not end their stream")
	otherLength     = newFault(ProtocolError, "conflicting_length", "the body has another length than its head declares")
	dataBeforeHead  = newFault(ProtocolError, "data_before_head", "a body comes before its head")
	bodyForbidden   = newFault(ProtocolError, "forbidden_body", "a response that cannot have a body has or declares one")
	badInterim      = newFault(ProtocolError, "bad_interim", "an interim response ends the stream")
	manyInterim     = newFault(EnhanceYourCalm, "many_interim", "too many interim responses came before the final one")
	unknownSwitch   = newFault(ProtocolError, "bad_switch", "a response switches protocols as HTTP/2 cannot")
	emptyStreamStep = newFault(ProtocolError, "empty_stream_increment", "a stream's window was opened by nothing")
	largeStreamStep = newFault(FlowControlError, "large_stream_window", "a stream's window became larger than 2^31-1")
	streamOverrun   = newFault(FlowControlError, "stream_overrun", "more was sent than the stream's window allowed")
)

// truncated is what EOF returns if streams were open.
var truncated = newFault(NoError, "truncated_connection", "the connection was closed while streams were open")

// Refusals returns those of this package and of the header blocks, for the list of reasons.
func Refusals() []*message.Refusal {
	var list []*message.Refusal
	for _, f := range []*fault{
		badPreface, noSettings, largeFrame, badFrameSize, badPadding, badStream, idleStream, closedStream, brokenBlock,
		strayContinuation, manyContinuations, largeBlock, pushed, badSetting, largeWindow, emptyIncrement, overrun,
		unreadReplies, manyResets, manyEmptyData, manySettings, manyPings, manyPriorities, manyWindowUpdates, manyUseless,
		muchPadding,
		halfClosed, manyStreams, selfDependent, badPriority, endlessTrailers, otherLength, dataBeforeHead, bodyForbidden,
		badInterim, manyInterim, unknownSwitch, emptyStreamStep, largeStreamStep, streamOverrun,
		truncated,
	} {
		list = append(list, f.Refusal)
	}
	return append(list, block.Refusals()...)
}
