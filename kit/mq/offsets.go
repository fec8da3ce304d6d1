package mq

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"regexp"
)

// OffsetsTableDefault is the table of Offsets.
const OffsetsTableDefault = "mq_offsets"

// OffsetsConfig is what NewOffsets needs.
type OffsetsConfig struct {
	// DB is the database that has the handler's rows: MySQL, MariaDB or SQLite.
	DB *sql.DB
	// Group keeps the offsets of different consumers of the same topics apart: usually the consumer group.
	Group string
	// Table is the table's name, of letters, digits and underscores: "mq_offsets".
	Table string
}

// Offsets makes the effects of a handler in one database happen exactly once: how far a partition is handled is a row
// there, written in the transaction of the effects. After a crash at any point, either both are there or neither, and what
// was done is left out when it comes again. Whoever claims a partition raises its epoch, and a consumer with an older one
// gets ErrFenced.
//
// The offsets are those of one queue. When a topic is deleted and made again, or the queue's data is lost, Forget its
// offsets, or the new messages are taken for the old.
//
// An Offsets may be used by many goroutines.
type Offsets struct {
	db    *sql.DB
	group string

	create, claim, insert, read, advance, forget string
}

var tableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,62}$`)

// groupBytesMax is what the key column has for the group, besides 249 for the topic, which is Kafka's bound.
const groupBytesMax = 255

// NewOffsets checks cfg. It does not touch the database.
func NewOffsets(cfg OffsetsConfig) (*Offsets, error) {
	if cfg.Table == "" {
		cfg.Table = OffsetsTableDefault
	}
	var errs []error
	if cfg.DB == nil {
		errs = append(errs, errors.New("mq: DB is nil, and should be the database of the handler"))
	}
	if cfg.Group == "" || len(cfg.Group) > groupBytesMax {
		errs = append(errs, fmt.Errorf("mq: Group has %d bytes, and should have 1 to %d", len(cfg.Group), groupBytesMax))
	}
	if !tableName.MatchString(cfg.Table) {
		errs = append(errs, fmt.Errorf("mq: Table is %q, and should be up to 63 letters, digits and underscores", cfg.Table))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	// The key is group/topic, as bytes: two topics that differ in case are two. No topic has a slash.
	return &Offsets{
		db: cfg.DB, group: cfg.Group,
		create: "CREATE TABLE IF NOT EXISTS " + cfg.Table +
			" (lane VARBINARY(520) NOT NULL, part INT NOT NULL, next BIGINT NOT NULL, epoch BIGINT NOT NULL, PRIMARY KEY (lane, part))",
		claim:   "UPDATE " + cfg.Table + " SET epoch = epoch + 1 WHERE lane = ? AND part = ?",
		insert:  "INSERT INTO " + cfg.Table + " (lane, part, next, epoch) VALUES (?, ?, -1, 1)",
		read:    "SELECT next, epoch FROM " + cfg.Table + " WHERE lane = ? AND part = ?",
		advance: "UPDATE " + cfg.Table + " SET next = ? WHERE lane = ? AND part = ? AND epoch = ? AND next <= ?",
		forget:  "DELETE FROM " + cfg.Table + " WHERE lane = ?",
	}, nil
}

// CreateTable makes the table if there is none.
func (o *Offsets) CreateTable(ctx context.Context) error {
	if _, err := o.db.ExecContext(ctx, o.create); err != nil {
		return fmt.Errorf("mq: the table of offsets: %w", err)
	}
	return nil
}

func (o *Offsets) lane(topic string) []byte { return []byte(o.group + "/" + topic) }

// Claim is for the field Claim of a consumer's config: it fences off whoever had the partition, and says where to begin.
func (o *Offsets) Claim(ctx context.Context, topic string, partition int32) (Position, error) {
	position, err := o.claimOnce(ctx, topic, partition)
	if err != nil {
		// Two that claim a partition for the first time meet at the primary key; the row is there then.
		position, err = o.claimOnce(ctx, topic, partition)
	}
	if err != nil {
		return Position{}, fmt.Errorf("mq: claiming partition %d of %q: %w", partition, topic, err)
	}
	return position, nil
}

func (o *Offsets) claimOnce(ctx context.Context, topic string, partition int32) (Position, error) {
	tx, err := o.db.BeginTx(ctx, nil)
	if err != nil {
		return Position{}, err
	}
	defer tx.Rollback() // after Commit it does nothing
	changed, err := affected(tx.ExecContext(ctx, o.claim, o.lane(topic), partition))
	if err != nil {
		return Position{}, err
	}
	if changed == 0 {
		if _, err := tx.ExecContext(ctx, o.insert, o.lane(topic), partition); err != nil {
			return Position{}, err
		}
	}
	var p Position
	if err := tx.QueryRowContext(ctx, o.read, o.lane(topic), partition).Scan(&p.Next, &p.Epoch); err != nil {
		return Position{}, err
	}
	return p, tx.Commit()
}

// Advance writes into tx that batch is handled, and returns those of its messages that were not handled before: all but
// after a crash. With an error the transaction has to be rolled back; the error is ErrFenced, or what the database said.
// The row stays locked until the transaction ends, so that another consumer of the same partition waits.
func (o *Offsets) Advance(ctx context.Context, tx *sql.Tx, batch Batch) (fresh []Message, err error) {
	for i := 1; i < len(batch.Messages); i++ {
		if batch.Messages[i].Offset <= batch.Messages[i-1].Offset {
			return nil, fmt.Errorf("mq: the offsets of the batch do not rise: %d after %d in partition %d of %q",
				batch.Messages[i].Offset, batch.Messages[i-1].Offset, batch.Partition, batch.Topic)
		}
	}
	lane, next, first := o.lane(batch.Topic), batch.Next(), batch.Messages[0].Offset
	changed, err := affected(tx.ExecContext(ctx, o.advance, next, lane, batch.Partition, batch.Epoch, first))
	if err != nil {
		return nil, fmt.Errorf("mq: advancing partition %d of %q: %w", batch.Partition, batch.Topic, err)
	}
	if changed == 1 {
		return batch.Messages, nil
	}
	var done, epoch int64
	err = tx.QueryRowContext(ctx, o.read, lane, batch.Partition).Scan(&done, &epoch)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil, fmt.Errorf("%w: partition %d of %q has no offset in the database; is Claim set in the consumer's config?", ErrFenced, batch.Partition, batch.Topic)
	case err != nil:
		return nil, fmt.Errorf("mq: advancing partition %d of %q: %w", batch.Partition, batch.Topic, err)
	case epoch != batch.Epoch:
		return nil, fmt.Errorf("%w: partition %d of %q has epoch %d, and the batch has %d", ErrFenced, batch.Partition, batch.Topic, epoch, batch.Epoch)
	}
	for i := range batch.Messages {
		if batch.Messages[i].Offset >= done {
			fresh = batch.Messages[i:]
			break
		}
	}
	if len(fresh) == 0 {
		return nil, nil
	}
	changed, err = affected(tx.ExecContext(ctx, o.advance, next, lane, batch.Partition, batch.Epoch, done))
	if err != nil {
		return nil, fmt.Errorf("mq: advancing partition %d of %q: %w", batch.Partition, batch.Topic, err)
	}
	if changed != 1 {
		return nil, fmt.Errorf("%w: partition %d of %q was advanced by another consumer meanwhile", ErrFenced, batch.Partition, batch.Topic)
	}
	return fresh, nil
}

// Forget removes the offsets of a topic. The group's consumers must not run.
func (o *Offsets) Forget(ctx context.Context, topic string) error {
	if _, err := o.db.ExecContext(ctx, o.forget, o.lane(topic)); err != nil {
		return fmt.Errorf("mq: forgetting the offsets of %q: %w", topic, err)
	}
	return nil
}

// Handler returns a handler that calls f in a transaction that also holds the offset, for messages that no transaction has
// handled before, and commits it when f returns nil. What the database fails with outside of f, at the commit above all, is
// a Retry, and so is an unmarked error of f when the database does not answer after it.
func (o *Offsets) Handler(f func(ctx context.Context, tx *sql.Tx, batch Batch) error) Handler {
	return func(ctx context.Context, batch Batch) error {
		tx, err := o.db.BeginTx(ctx, nil)
		if err != nil {
			return Retry(err)
		}
		defer tx.Rollback() // after Commit it does nothing
		all := batch.Messages
		batch.Messages, err = o.Advance(ctx, tx, batch)
		if errors.Is(err, ErrFenced) {
			return err
		}
		if err != nil {
			return Retry(err)
		}
		if len(batch.Messages) > 0 {
			if err := f(ctx, tx, batch); err != nil {
				return o.judge(ctx, tx, err, len(all)-len(batch.Messages))
			}
		}
		if err := tx.Commit(); err != nil {
			return Retry(fmt.Errorf("mq: committing the batch: %w", err))
		}
		return nil
	}
}

// judge puts the index of a poisoned message in terms of the whole batch, and looks whether the database is the reason of
// an error that says nothing of itself.
func (o *Offsets) judge(ctx context.Context, tx *sql.Tx, err error, skipped int) error {
	var poison *PoisonError
	var retry *RetryError
	switch {
	case errors.As(err, &retry):
	case errors.As(err, &poison):
		if poison.Index >= 0 && skipped > 0 {
			return PoisonAt(poison.Index+skipped, poison.Err)
		}
	default:
		var one int
		if tx.QueryRowContext(ctx, "SELECT 1").Scan(&one) != nil {
			return Retry(err)
		}
	}
	return err
}

func affected(result sql.Result, err error) (int64, error) {
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}
