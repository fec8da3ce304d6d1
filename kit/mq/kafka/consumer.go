package kafka

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/yumen-io/yumen/kit/mq"
	"github.com/yumen-io/yumen/kit/mq/internal/lane"
)

// Consumer is a member of a consumer group, with a goroutine for each partition that it was given.
type Consumer struct {
	cfg      ConsumerConfig
	client   *kgo.Client
	handler  mq.Handler
	run      atomic.Bool
	counters lane.Counters
	dead     deadTopics

	// fetching keeps "the lane is full" and "pause its partition" together, against "there is room".
	fetching sync.Mutex

	// committing is held while a commit is under way. A partition is given up under it, so that no commit of it can come
	// after another consumer's.
	committing sync.Mutex
	news       chan struct{} // 1: there is something to commit

	mu struct {
		sync.Mutex
		lanes map[place]*held
		dirty map[place]int64 // the offset to commit
	}
}

// place is a partition.
type place struct {
	topic     string
	partition int32
}

// held is a partition that this consumer has.
type held struct {
	*lane.Lane
	cancel context.CancelFunc
}

var _ mq.Consumer = (*Consumer)(nil)

// NewConsumer checks cfg and returns a consumer. It connects in Run.
func NewConsumer(cfg ConsumerConfig) (*Consumer, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	c := &Consumer{cfg: cfg, news: make(chan struct{}, 1)}
	c.mu.lanes, c.mu.dirty = map[place]*held{}, map[place]int64{}
	opts := append(slices.Clip(cfg.Options),
		kgo.SeedBrokers(cfg.Brokers...),
		kgo.ConsumerGroup(cfg.Group),
		kgo.ConsumeTopics(cfg.Topics...),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		// A partition that is resumed waits for the fetch of the others at its broker, which is this long when they are idle.
		kgo.FetchMaxWait(100*time.Millisecond),
		kgo.MetadataMinAge(metadataMinAge),
		// Only partitions that move are given up, and none between a poll and the lanes.
		kgo.Balancers(kgo.CooperativeStickyBalancer()),
		kgo.BlockRebalanceOnPoll(),
		kgo.DisableAutoCommit(),
		kgo.SessionTimeout(cfg.Session),
		kgo.HeartbeatInterval(min(3*time.Second, cfg.Session/3)),
		// A handler has Grace and then has to return; the group waits for that long before it goes on without us.
		kgo.RebalanceTimeout(cfg.Rebalance+cfg.Grace),
		kgo.OnPartitionsAssigned(c.assigned),
		kgo.OnPartitionsRevoked(c.revoked),
		kgo.OnPartitionsLost(c.lost),
		kgo.AdjustFetchOffsetsFn(c.begin),
		// Dead letters: like those of a Publisher.
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.ProducerLinger(0),
		kgo.RecordDeliveryTimeout(TimeoutDefault),
		kgo.ProducerBatchMaxBytes(deadBytesMax),
	)
	// A client has goroutines that want the group from the first moment, so it is made in Run.
	if err := kgo.ValidateOpts(opts...); err != nil {
		return nil, fmt.Errorf("kafka: %w", err)
	}
	c.cfg.Options = opts
	return c, nil
}

// Run implements mq.Consumer. Brokers that cannot be reached are tried for ever; Run then waits.
func (c *Consumer) Run(ctx context.Context, handler mq.Handler) error {
	if !c.run.CompareAndSwap(false, true) {
		return fmt.Errorf("%w: a consumer runs once", mq.ErrClosed)
	}
	c.handler = handler
	// Partitions may be assigned before NewClient returns; assigned waits here.
	c.mu.Lock()
	client, err := kgo.NewClient(c.cfg.Options...)
	c.client = client
	c.mu.Unlock()
	if err != nil {
		return fmt.Errorf("kafka: %w", err)
	}
	stop := make(chan struct{})
	var others sync.WaitGroup
	others.Go(func() { c.commitLoop(stop) })
	others.Go(func() { c.lagLoop(stop) })

	c.poll(ctx)

	// Leaving calls revoked for all partitions, which lets handlers finish, and commits. With the brokers gone it is up to
	// the group to notice.
	leave, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.cfg.Grace+c.cfg.Timeout+leaveMax)
	defer cancel()
	if err := client.LeaveGroupContext(leave); err != nil {
		c.cfg.Logger.Warn("the consumer group was not left in order; others get its partitions when the session ends",
			"group", c.cfg.Group, "error", err)
	}
	c.giveUp(c.all(), 0)
	close(stop)
	others.Wait()
	client.CloseAllowingRebalance()
	return nil
}

// leaveMax is how long leaving may take once handlers have ended: a commit and a request.
const leaveMax = 5 * time.Second

// poll hands what is fetched to the lanes, and never waits for them.
func (c *Consumer) poll(ctx context.Context) {
	failing := false
	for ctx.Err() == nil {
		fetches := c.client.PollRecords(ctx, -1)
		var failed error
		fetches.EachError(func(topic string, partition int32, err error) {
			if ctx.Err() == nil && failed == nil {
				failed = fmt.Errorf("topic %q, partition %d: %w", topic, partition, err)
			}
		})
		fetches.EachPartition(func(p kgo.FetchTopicPartition) { c.push(p) })
		c.client.AllowRebalance()
		if (failed != nil) != failing {
			if failing = failed != nil; failing {
				c.cfg.Logger.Error("messages cannot be fetched", "group", c.cfg.Group, "error", failed)
			} else {
				c.cfg.Logger.Info("messages are fetched again", "group", c.cfg.Group)
			}
		}
	}
}

func (c *Consumer) push(p kgo.FetchTopicPartition) {
	at := place{p.Topic, p.Partition}
	l := c.lane(at)
	if l == nil {
		return
	}
	if p.LastStableOffset >= 0 && p.Err == nil {
		l.SetEnd(p.LastStableOffset)
	}
	if len(p.Records) == 0 {
		return
	}
	messages := make([]mq.Message, len(p.Records))
	for i, r := range p.Records {
		messages[i] = message(r)
	}
	c.fetching.Lock()
	defer c.fetching.Unlock()
	if l.Push(messages) {
		c.client.PauseFetchPartitions(at.set())
	}
}

func (c *Consumer) room(at place) {
	c.fetching.Lock()
	defer c.fetching.Unlock()
	c.client.ResumeFetchPartitions(at.set())
}

func (at place) set() map[string][]int32 { return map[string][]int32{at.topic: {at.partition}} }

func (c *Consumer) lane(at place) *held {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.lanes[at]
}

func (c *Consumer) all() map[string][]int32 {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := map[string][]int32{}
	for at := range c.mu.lanes {
		all[at.topic] = append(all[at.topic], at.partition)
	}
	return all
}

// assigned starts a lane for each partition. Messages come after begin.
func (c *Consumer) assigned(_ context.Context, client *kgo.Client, partitions map[string][]int32) {
	// A pause outlives the partition it was for.
	client.ResumeFetchPartitions(partitions)
	_, generation := client.GroupMetadata()
	c.mu.Lock()
	defer c.mu.Unlock()
	for topic, numbers := range partitions {
		for _, number := range numbers {
			at := place{topic, number}
			ctx, cancel := context.WithCancel(context.Background())
			h := &held{cancel: cancel}
			host := lane.Host{
				Handle:   c.handler,
				Dead:     c.bury,
				Done:     func(next int64) { c.mark(at, h, next) },
				Room:     func() { c.room(at) },
				Counters: &c.counters,
				Logger:   c.cfg.Logger,
			}
			if c.cfg.Claim != nil {
				host.Claim = func(ctx context.Context) (int64, error) {
					position, err := c.cfg.Claim(ctx, topic, number)
					return position.Epoch, err
				}
			}
			h.Lane = lane.New(topic, number, c.cfg.Delivery, host)
			h.SetEpoch(int64(generation))
			c.mu.lanes[at] = h
			c.counters.Assigned.Add(1)
			go h.Run(ctx)
		}
	}
	if c.cfg.Claim == nil {
		for _, h := range c.mu.lanes {
			h.SetEpoch(int64(generation))
		}
	}
}

// begin says where to begin with partitions that were just assigned.
func (c *Consumer) begin(ctx context.Context, offsets map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
	for topic, partitions := range offsets {
		for number, offset := range partitions {
			next := offset.EpochOffset().Offset
			l := c.lane(place{topic, number})
			if c.cfg.Claim != nil {
				position, err := c.claim(ctx, topic, number)
				if err != nil {
					return nil, err // ctx has ended: another rebalance
				}
				if l != nil {
					l.SetEpoch(position.Epoch)
				}
				if position.Next >= 0 {
					next = position.Next
					partitions[number] = kgo.NewOffset().At(next)
				}
			}
			if l != nil && next >= 0 {
				l.SetNext(next)
			}
		}
	}
	return offsets, nil
}

// claim tries until it has an answer or ctx ends.
func (c *Consumer) claim(ctx context.Context, topic string, number int32) (mq.Position, error) {
	tick := time.NewTicker(max(c.cfg.BackoffMin, 10*time.Millisecond))
	defer tick.Stop()
	for tries := 0; ; tries++ {
		position, err := c.cfg.Claim(ctx, topic, number)
		if err == nil {
			return position, nil
		}
		if tries == 0 && ctx.Err() == nil {
			c.cfg.Logger.Error("a partition cannot be claimed; it waits", "topic", topic, "partition", number, "error", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return mq.Position{}, ctx.Err()
		}
	}
}

// revoked gives partitions up in order: handlers finish, what they have done is committed, and only then others get them.
func (c *Consumer) revoked(_ context.Context, _ *kgo.Client, partitions map[string][]int32) {
	c.counters.Revoked.Add(c.giveUp(partitions, max(0, c.cfg.Grace)))
}

// lost gives up partitions that others may have by now: nothing that is done from here on counts.
func (c *Consumer) lost(_ context.Context, _ *kgo.Client, partitions map[string][]int32) {
	n := c.giveUp(partitions, -1)
	c.counters.Lost.Add(n)
	if n > 0 {
		c.cfg.Logger.Warn("the consumer group went on without this consumer, which joins again", "group", c.cfg.Group)
	}
}

// giveUp ends lanes and waits for their handlers, which may go on for grace. A negative grace means that the partitions are
// lost, and nothing is committed.
func (c *Consumer) giveUp(partitions map[string][]int32, grace time.Duration) (n uint64) {
	lanes := map[place]*held{}
	for topic, numbers := range partitions {
		for _, number := range numbers {
			if l := c.lane(place{topic, number}); l != nil {
				lanes[place{topic, number}] = l
			}
		}
	}
	if len(lanes) == 0 {
		return 0
	}
	for _, l := range lanes {
		l.Drain()
	}
	if grace > 0 {
		timer := time.NewTimer(grace)
		defer timer.Stop()
	waiting:
		for _, l := range lanes {
			select {
			case <-l.Over():
			case <-timer.C:
				break waiting
			}
		}
	}
	for _, l := range lanes {
		l.cancel()
	}
	for _, l := range lanes {
		<-l.Over()
	}

	c.committing.Lock()
	defer c.committing.Unlock()
	last := map[place]int64{}
	c.mu.Lock()
	for at := range lanes {
		if next, ok := c.mu.dirty[at]; ok && grace >= 0 {
			last[at] = next
		}
		delete(c.mu.dirty, at)
		delete(c.mu.lanes, at)
	}
	c.mu.Unlock()
	// What cannot be committed now comes again at the partition's next consumer.
	_ = c.commit(last, leaveMax)
	return uint64(len(lanes))
}

// Stats implements mq.Consumer.
func (c *Consumer) Stats() mq.Stats {
	s := mq.Stats{
		Messages: c.counters.Messages.Load(), Batches: c.counters.Batches.Load(), Failures: c.counters.Failures.Load(),
		Dead: c.counters.Dead.Load(), Commits: c.counters.Commits.Load(), Assigned: c.counters.Assigned.Load(),
		Revoked: c.counters.Revoked.Load(), Lost: c.counters.Lost.Load(),
	}
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, l := range c.mu.lanes {
		s.Partitions = append(s.Partitions, l.Stats(now))
	}
	return s
}
