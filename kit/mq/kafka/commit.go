package kafka

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// commitMax is how long one commit may take before it is tried anew; the client retries within it.
const commitMax = 10 * time.Second

// mark remembers what to commit. It is called by lanes.
func (c *Consumer) mark(at place, h *held, next int64) {
	c.mu.Lock()
	if c.mu.lanes[at] == h {
		c.mu.dirty[at] = next
	}
	c.mu.Unlock()
	select {
	case c.news <- struct{}{}:
	default:
	}
}

// commitLoop commits what lanes have marked: one request at a time, with all that was marked meanwhile.
func (c *Consumer) commitLoop(stop <-chan struct{}) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	failing := false
	for {
		select {
		case <-c.news:
		case <-stop:
			return
		}
		timer.Reset(max(0, c.cfg.CommitDelay))
		select {
		case <-timer.C:
		case <-stop:
			return
		}
		err := c.commitMarked()
		if (err != nil) != failing {
			if failing = err != nil; failing {
				c.cfg.Logger.Warn("offsets cannot be committed", "group", c.cfg.Group, "error", err)
			} else {
				c.cfg.Logger.Info("offsets are committed again", "group", c.cfg.Group)
			}
		}
	}
}

func (c *Consumer) commitMarked() error {
	c.committing.Lock()
	defer c.committing.Unlock()
	c.mu.Lock()
	marked := c.mu.dirty
	c.mu.dirty = map[place]int64{}
	c.mu.Unlock()
	err := c.commit(marked, commitMax)
	if err == nil {
		return nil
	}
	// It is tried again with the next batch, or right away when a rebalance was in the way. Partitions are given up under
	// committing, so that all of these are still ours.
	c.mu.Lock()
	defer c.mu.Unlock()
	for at, next := range marked {
		if c.mu.lanes[at] != nil && c.mu.dirty[at] < next {
			c.mu.dirty[at] = next
		}
	}
	select {
	case c.news <- struct{}{}:
	default:
	}
	return err
}

func (c *Consumer) commit(marked map[place]int64, atMost time.Duration) error {
	if len(marked) == 0 {
		return nil
	}
	offsets := map[string]map[int32]kgo.EpochOffset{}
	for at, next := range marked {
		if offsets[at.topic] == nil {
			offsets[at.topic] = map[int32]kgo.EpochOffset{}
		}
		offsets[at.topic][at.partition] = kgo.EpochOffset{Epoch: -1, Offset: next}
	}
	ctx, cancel := context.WithTimeout(context.Background(), atMost)
	defer cancel()
	var failed error
	c.client.CommitOffsetsSync(ctx, offsets, func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, answer *kmsg.OffsetCommitResponse, err error) {
		if err != nil {
			failed = err
			return
		}
		for _, topic := range answer.Topics {
			for _, p := range topic.Partitions {
				if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
					failed = fmt.Errorf("topic %q, partition %d: %w", topic.Topic, p.Partition, err)
				}
			}
		}
	})
	if failed == nil {
		c.counters.Commits.Add(uint64(len(marked)))
	}
	return failed
}

// lagLoop asks for the ends of the partitions, since a partition that is paused is not fetched.
func (c *Consumer) lagLoop(stop <-chan struct{}) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() { <-stop; cancel() }()
	tick := time.NewTicker(c.cfg.LagEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			c.askEnds(ctx)
		case <-stop:
			return
		}
	}
}

func (c *Consumer) askEnds(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.LagEvery)
	defer cancel()
	request := kmsg.NewPtrListOffsetsRequest()
	request.ReplicaID = -1
	request.IsolationLevel = 1 // committed, like what is fetched
	for topic, numbers := range c.all() {
		t := kmsg.NewListOffsetsRequestTopic()
		t.Topic = topic
		for _, number := range numbers {
			p := kmsg.NewListOffsetsRequestTopicPartition()
			p.Partition = number
			p.Timestamp = -1 // the end
			t.Partitions = append(t.Partitions, p)
		}
		request.Topics = append(request.Topics, t)
	}
	if len(request.Topics) == 0 {
		return
	}
	for _, shard := range c.client.RequestSharded(ctx, request) {
		answer, ok := shard.Resp.(*kmsg.ListOffsetsResponse)
		if !ok || shard.Err != nil {
			continue // the lag stays what was known
		}
		for _, topic := range answer.Topics {
			for _, p := range topic.Partitions {
				if l := c.lane(place{topic.Topic, p.Partition}); l != nil && p.ErrorCode == 0 && p.Offset >= 0 {
					l.SetEnd(p.Offset)
				}
			}
		}
	}
}
