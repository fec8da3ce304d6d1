package binlog

import (
	"fmt"
	"strings"
	"time"

	"github.com/go-mysql-org/go-mysql/mysql"
	"github.com/go-mysql-org/go-mysql/replication"
	"github.com/google/uuid"

	"github.com/yumen-io/yumen/kit/cdc"
)

// transactions makes events out of the binlog's. It has no connection and no clock: it is given one binlog event after
// the other, and says when a batch should be handed over.
//
// What the binlog has of a transaction is committed: the server writes it there in one piece when it commits. The
// exceptions are told as epochs.
type transactions struct {
	source   string
	filter   *filter
	charsets map[uint64]string
	// local is the zone in which the library writes the times of compressed transactions, which is that of the process: the
	// zone that it is told to write in does not reach them.
	local *time.Location
	// epoch begins a new one and returns its number.
	epoch func() uint64

	// The position after the last transaction that is whole.
	done   mysql.GTIDSet
	file   string
	offset uint64
	moved  bool // since it was last noted
	// The transaction being read.
	gtid       string
	next       mysql.GTIDSet
	open       bool
	standalone bool // it is one statement, and nothing says COMMIT
	begun      bool // a BEGIN has been seen
	xa         bool // prepared: its rows are not committed yet
	compressed bool // what is added comes out of a compressed transaction
	index      int
	time       time.Time

	// Events that are not handed over yet, and how much binlog they were.
	pending   []cdc.Event
	bytes     int
	whole     int       // how many of them are of transactions that are whole
	wholeTime time.Time // when the last of those was written
	epochNo   uint64
	tables    map[*replication.TableMapEvent]*columns
}

// add takes one event of the binlog.
func (t *transactions) add(e *replication.BinlogEvent) error {
	switch ev := e.Event.(type) {
	case *replication.RotateEvent:
		t.file = string(ev.NextLogName)
	case *replication.MariadbGTIDEvent:
		t.begin(e, ev.GTID.String())
		t.standalone = ev.IsStandalone()
		t.xa = ev.Flags&flagPreparedXA != 0
		next := t.done.Clone()
		if err := next.(*mysql.MariadbGTIDSet).AddSet(&ev.GTID); err != nil {
			return err
		}
		t.next = next
	case *replication.GTIDEvent:
		return t.beginMySQL(e, ev)
	case *replication.GtidTaggedLogEvent:
		return t.beginMySQL(e, &ev.GTIDEvent)
	case *replication.TransactionPayloadEvent:
		t.compressed = true
		defer func() { t.compressed = false }()
		for _, inner := range ev.Events {
			if inner.Header.LogPos == 0 {
				inner.Header.LogPos = e.Header.LogPos
			}
			if err := t.add(inner); err != nil {
				return err
			}
		}
	case *replication.TableMapEvent:
		if t.tables == nil || len(t.tables) >= tablesMax {
			t.tables = make(map[*replication.TableMapEvent]*columns)
		}
		if t.filter.follows(string(ev.Schema), string(ev.Table)) {
			zone := time.UTC
			if t.compressed {
				zone = t.local
			}
			t.tables[ev] = newColumns(ev, t.charsets, zone)
		}
	case *replication.RowsEvent:
		return t.rows(e, ev)
	case *replication.XIDEvent:
		t.end(e)
	case *replication.QueryEvent:
		t.query(e, ev)
	case *replication.ExecuteLoadQueryEvent:
		t.bump(cdc.Statement, "LOAD DATA as a statement")
	case *replication.GenericEvent:
		switch e.Header.EventType {
		case replication.XA_PREPARE_LOG_EVENT:
			// Its first byte says that it is a commit in one phase.
			if len(ev.Data) > 0 && ev.Data[0] != 0 {
				t.bump(cdc.XA, t.gtid)
			}
			t.end(e)
		case replication.INCIDENT_EVENT:
			t.bump(cdc.Gap, "the server says that its binlog lacks something")
		}
	}
	return nil
}

// flagPreparedXA is in a MariaDB GTID event of a transaction that XA PREPARE ended: FL_PREPARED_XA of sql/log_event.h.
const flagPreparedXA = 64

// tablesMax bounds the columns that are remembered: they come anew with each statement.
const tablesMax = 1024

func (t *transactions) begin(e *replication.BinlogEvent, gtid string) {
	if t.open {
		// Cannot be; if it is, the position must not pass over what was read.
		t.end(e)
	}
	t.gtid, t.open, t.standalone, t.begun, t.xa, t.index = gtid, true, false, false, false, 0
	t.time = time.Unix(int64(e.Header.Timestamp), 0).UTC()
	clear(t.tables)
}

func (t *transactions) beginMySQL(e *replication.BinlogEvent, ev *replication.GTIDEvent) error {
	id, err := uuid.FromBytes(ev.SID)
	if err != nil {
		return err
	}
	next := t.done.Clone().(*mysql.MysqlGTIDSet)
	if tag := ev.Tag.String(); tag != "" {
		next.AddGTIDWithTag(id, ev.Tag, ev.GNO)
		t.begin(e, fmt.Sprintf("%s:%s:%d", id, tag, ev.GNO))
	} else {
		next.AddGTID(id, ev.GNO)
		t.begin(e, fmt.Sprintf("%s:%d", id, ev.GNO))
	}
	if at := ev.ImmediateCommitTime(); !at.IsZero() {
		t.time = at.UTC()
	}
	t.next = next
	return nil
}

// end is the end of a transaction that is committed.
func (t *transactions) end(e *replication.BinlogEvent) {
	if !t.open {
		return
	}
	t.open, t.xa = false, false
	t.done, t.moved = t.next, true
	if e.Header.LogPos > 0 {
		t.offset = uint64(e.Header.LogPos)
	}
	if n := len(t.pending); n > 0 && t.pending[n-1].Transaction == t.gtid {
		t.pending[n-1].Last = true
	}
	t.whole, t.wholeTime = len(t.pending), t.time
}

func (t *transactions) query(e *replication.BinlogEvent, ev *replication.QueryEvent) {
	s := readStatement(string(ev.Query))
	switch s.role {
	case begins:
		t.begun = true
		return
	case xaBegins:
		t.begun, t.xa = true, true
		return
	case ends:
		t.end(e)
		return
	case undoes, undoesPart:
		// Of engines without transactions it remains, of others not, and nobody says what. What was handed over already of a
		// large one is doubted by the epoch, too.
		t.forget()
		t.bump(cdc.Statement, "a rollback in the binlog")
		if s.role == undoes {
			t.end(e)
		}
		return
	case xaCommits:
		t.bump(cdc.XA, string(ev.Query))
	case alters, changes:
		if s.concerns(t.filter, string(ev.Schema)) {
			t.bump(s.reason(), string(ev.Query))
		}
	}
	if (t.standalone || !t.begun && t.next != nil && isMySQL(t.next)) && !s.stays || s.role == xaCommits || s.role == xaUndoes {
		t.end(e)
	}
}

func isMySQL(s mysql.GTIDSet) bool {
	_, ok := s.(*mysql.MysqlGTIDSet)
	return ok
}

// forget drops what is pending of the transaction being read.
func (t *transactions) forget() {
	n := len(t.pending)
	for n > 0 && t.pending[n-1].Transaction == t.gtid && t.pending[n-1].Kind != cdc.Epoch {
		n--
	}
	clear(t.pending[n:])
	t.pending = t.pending[:n]
}

// detailBytesMax bounds Event.Detail, which may be a statement of any length.
const detailBytesMax = 1024

func (t *transactions) bump(reason cdc.Reason, detail string) {
	if len(detail) > detailBytesMax {
		detail = detail[:detailBytesMax]
	}
	t.epochNo = t.epoch()
	t.push(cdc.Event{Kind: cdc.Epoch, Reason: reason, Detail: strings.ToValidUTF8(detail, "?")})
}

func (t *transactions) push(e cdc.Event) {
	e.Source, e.Transaction, e.Index, e.Time, e.Epoch = t.source, t.gtid, t.index, t.time, t.epochNo
	t.index++
	t.pending = append(t.pending, e)
}

func (t *transactions) rows(e *replication.BinlogEvent, ev *replication.RowsEvent) error {
	if t.xa || ev.Table == nil {
		return nil
	}
	database, table := string(ev.Table.Schema), string(ev.Table.Table)
	if !t.filter.follows(database, table) {
		return nil
	}
	t.bytes += int(e.Header.EventSize)
	c := t.tables[ev.Table]
	if c == nil || !whole(ev.SkippedColumns) {
		t.bump(cdc.Image, "rows of "+database+"."+table+" without all columns or their names")
		return nil
	}
	kind := cdc.Insert
	switch ev.Type() {
	case replication.EnumRowsEventTypeDelete:
		kind = cdc.Delete
	case replication.EnumRowsEventTypeInsert:
	default:
		kind = cdc.Update
	}
	rows := ev.Rows
	for len(rows) > 0 {
		row, err := c.row(rows[0])
		if err != nil {
			return err
		}
		event := cdc.Event{Kind: kind, Database: database, Table: table, Key: c.keyOf(row)}
		switch {
		case kind == cdc.Insert:
			event.After = row
		case kind == cdc.Delete:
			event.Before = row
		case len(rows) < 2:
			return fmt.Errorf("an update of %s.%s without its second half", database, table)
		default:
			rows = rows[1:]
			after, err := c.row(rows[0])
			if err != nil {
				return err
			}
			if key := c.keyOf(after); key != event.Key {
				event.Kind, event.Before = cdc.Delete, row
				t.push(event)
				event = cdc.Event{Kind: cdc.Insert, Database: database, Table: table, Key: key, After: after}
			} else {
				event.Before, event.After = row, after
			}
		}
		rows = rows[1:]
		t.push(event)
	}
	return nil
}

func whole(skipped [][]int) bool {
	for _, s := range skipped {
		if len(s) > 0 {
			return false
		}
	}
	return true
}
