package cdc

import (
	"bytes"
	"encoding/json"
	"time"
)

// Kind is what an Event tells.
type Kind string

const (
	// Insert is a row that is new: After is set.
	Insert Kind = "insert"
	// Update is a row that changed: Before and After are set. A change of the primary key is told as Delete of the old key
	// and Insert of the new one.
	Update Kind = "update"
	// Delete is a row that is gone: Before is set.
	Delete Kind = "delete"
	// Message is what a transaction put into an outbox: Topic, Key and Payload are set.
	Message Kind = "message"
	// Epoch says that changes may be missing before it: Epoch, Reason and Detail are set.
	Epoch Kind = "epoch"
)

// Reason is why an epoch ended.
type Reason string

const (
	// Start: there is no checkpoint, or none that can be read. The source begins at the present.
	Start Reason = "start"
	// Gap: the server no longer has what follows the checkpoint, for its binlog was purged or lost its end. The source goes on
	// from the present.
	Gap Reason = "gap"
	// History: the checkpoint is of another server or of a time before RESET MASTER. The source goes on from the present.
	History Reason = "history"
	// Schema: a followed table was altered, emptied, renamed or dropped. Nothing is missing, but what was kept of its rows may
	// have another shape.
	Schema Reason = "schema"
	// Statement: rows were changed by a statement that the binlog has as text only.
	Statement Reason = "statement"
	// Image: rows were logged without all their columns, or without the columns' names.
	Image Reason = "image"
	// XA: a transaction in two phases was committed, whose rows the binlog told before that.
	XA Reason = "xa"
	// Undecodable: the binlog holds what this version cannot read. The source goes on from the present.
	Undecodable Reason = "undecodable"
)

// Event is one change. What it refers to must not be changed: events share columns and names.
type Event struct {
	// Source is the name of the source.
	Source string `json:"source"`
	Kind   Kind   `json:"kind"`

	// Database and Table are where the row is.
	Database string `json:"database,omitempty"`
	Table    string `json:"table,omitempty"`
	// Topic is what a Message is for.
	Topic string `json:"topic,omitempty"`
	// Key is what events are ordered by: the primary key's columns joined by commas (a comma or backslash in one of several
	// follows a backslash), or for a Message what the program said. It is empty for a table without a primary key.
	Key string `json:"key,omitempty"`

	Before *Row `json:"before,omitempty"`
	After  *Row `json:"after,omitempty"`
	// Payload is the body of a Message.
	Payload []byte `json:"payload,omitempty"`

	// Transaction is the GTID of the transaction, or the number of a row of an outbox. Index counts its events from 0, and
	// Last is true for the last one: only a transaction that is larger than a batch ends in another call than it began in.
	Transaction string `json:"transaction,omitempty"`
	Index       int    `json:"index"`
	Last        bool   `json:"last"`
	// Time is when the server says that it was written, to the second for a binlog (a statement's begin), to the millisecond for
	// an outbox.
	Time time.Time `json:"time"`

	// Epoch is the epoch that the event belongs to. It grows by each event of kind Epoch, also over restarts and over lost
	// checkpoints, and is not smaller than the time of its beginning in milliseconds since 1970. An outbox has none: 0.
	Epoch uint64 `json:"epoch,omitempty"`
	// Reason and Detail tell why the epoch before ended. Detail is for people.
	Reason Reason `json:"reason,omitempty"`
	Detail string `json:"detail,omitempty"`
}

// Row is the columns of a row in the order of the table. A value is one of
//
//	nil                   NULL
//	int64, uint64         integers, by the sign of the column; YEAR as int64; BIT as uint64
//	float32, float64      FLOAT, DOUBLE
//	string                DECIMAL with all its digits; CHAR, VARCHAR, TEXT in UTF-8; JSON; the names of ENUM and, joined by commas, of SET;
//	                      DATETIME, DATE and TIME as the server writes them, as they have no zone
//	time.Time             TIMESTAMP, in UTC; the zero Time for 0000-00-00
//	[]byte                BINARY, VARBINARY, BLOB, geometry, and text in a character set other than UTF-8, ASCII and latin1
type Row struct {
	Columns []string
	Values  []any
}

// Get returns a column's value, and whether there is such a column. A nil Row has none.
func (r *Row) Get(column string) (any, bool) {
	if r == nil {
		return nil, false
	}
	for i, c := range r.Columns {
		if c == column {
			return r.Values[i], true
		}
	}
	return nil, false
}

// MarshalJSON writes the row as an object, its columns in the order of the table, []byte in base64.
func (r *Row) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, c := range r.Columns {
		if i > 0 {
			b.WriteByte(',')
		}
		name, err := json.Marshal(c)
		if err != nil {
			return nil, err
		}
		value, err := json.Marshal(r.Values[i])
		if err != nil {
			return nil, err
		}
		b.Write(name)
		b.WriteByte(':')
		b.Write(value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}
