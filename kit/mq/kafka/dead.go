package kafka

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/yumen-io/yumen/kit/mq"
	"github.com/yumen-io/yumen/kit/mq/internal/lane"
)

// deadBytesMax is what a request with dead letters may hold: what was once accepted, with the headers that are added.
const deadBytesMax = 64 << 20

// deadTopics are the dead-letter topics that are known to exist.
type deadTopics struct {
	sync.Mutex
	known []string
}

// bury writes a message to its dead-letter topic, which is made if there is none.
func (c *Consumer) bury(ctx context.Context, m mq.Message, reason error, attempts int) error {
	dead := lane.DeadLetter(m, c.cfg.Delivery, c.cfg.Group, reason, attempts, time.Now())
	if err := c.needTopic(ctx, dead.Topic); err != nil {
		return err
	}
	err := publish(ctx, c.client, []mq.Message{dead})
	if err != nil {
		// It may have been deleted: the next attempt asks again.
		c.dead.Lock()
		c.dead.known = slices.DeleteFunc(c.dead.known, func(known string) bool { return known == dead.Topic })
		c.dead.Unlock()
	}
	return err
}

func (c *Consumer) needTopic(ctx context.Context, topic string) error {
	c.dead.Lock()
	defer c.dead.Unlock()
	if slices.Contains(c.dead.known, topic) {
		return nil
	}
	request := kmsg.NewPtrCreateTopicsRequest()
	t := kmsg.NewCreateTopicsRequestTopic()
	t.Topic = topic
	t.NumPartitions, t.ReplicationFactor = -1, -1 // what the broker has as its defaults
	request.Topics = append(request.Topics, t)
	request.TimeoutMillis = int32(commitMax / time.Millisecond)
	answer, err := request.RequestWith(ctx, c.client)
	if err != nil {
		return fmt.Errorf("making the dead-letter topic %q: %w", topic, err)
	}
	for _, t := range answer.Topics {
		if t.ErrorCode != 0 && t.ErrorCode != kerr.TopicAlreadyExists.Code {
			return fmt.Errorf("making the dead-letter topic %q: %w (%s)", topic, kerr.ErrorForCode(t.ErrorCode), strconv.Quote(deref(t.ErrorMessage)))
		}
	}
	c.dead.known = append(c.dead.known, topic)
	return nil
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
