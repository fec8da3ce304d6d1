package lane

import (
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/yumen-io/yumen/kit/mq"
)

// reasonBytesMax bounds the reason in a dead letter: errors may hold whole statements, and stacks.
const reasonBytesMax = 2048

// DeadLetter is m as it goes into the dead-letter topic: the same key, value and headers, and why it is there.
func DeadLetter(m mq.Message, set mq.Delivery, group string, reason error, attempts int, now time.Time) mq.Message {
	why := reason.Error()
	if len(why) > reasonBytesMax {
		why = why[:reasonBytesMax]
		for len(why) > 0 && !utf8.ValidString(why) && len(why) > reasonBytesMax-utf8.UTFMax {
			why = why[:len(why)-1]
		}
	}
	number := func(n int64) []byte { return strconv.AppendInt(nil, n, 10) }
	dead := mq.Message{Topic: m.Topic + set.DeadSuffix, Key: m.Key, Value: m.Value}
	dead.Headers = append(slices.Clone(m.Headers),
		mq.Header{Key: mq.DeadReason, Value: []byte(why)},
		mq.Header{Key: mq.DeadTopic, Value: []byte(m.Topic)},
		mq.Header{Key: mq.DeadPartition, Value: number(int64(m.Partition))},
		mq.Header{Key: mq.DeadOffset, Value: number(m.Offset)},
		mq.Header{Key: mq.DeadAttempts, Value: number(int64(attempts))},
		mq.Header{Key: mq.DeadGroup, Value: []byte(group)},
		mq.Header{Key: mq.DeadTime, Value: []byte(now.UTC().Format(time.RFC3339Nano))},
	)
	return dead
}
