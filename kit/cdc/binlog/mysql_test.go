package binlog

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/go-mysql-org/go-mysql/mysql"
	"github.com/go-mysql-org/go-mysql/replication"

	"github.com/yumen-io/yumen/kit/cdc"
)

// What MySQL's binlog has and MariaDB's has not, written by hand after the manual, since no test here has a MySQL server.

const mysqlUUID = "3e11fa47-71ca-11e1-9e33-c80aa9429562"

var mysqlSID = []byte{0x3e, 0x11, 0xfa, 0x47, 0x71, 0xca, 0x11, 0xe1, 0x9e, 0x33, 0xc8, 0x0a, 0xa9, 0x42, 0x95, 0x62}

func binlogEvent(at uint32, e replication.Event) *replication.BinlogEvent {
	return &replication.BinlogEvent{Header: &replication.EventHeader{LogPos: at, Timestamp: 1}, Event: e}
}

func mysqlGTID(n int64) replication.Event { return &replication.GTIDEvent{SID: mysqlSID, GNO: n} }

func mysqlQuery(text string) replication.Event {
	return &replication.QueryEvent{Schema: []byte("shop"), Query: []byte(text)}
}

func ordersMap() *replication.TableMapEvent {
	return &replication.TableMapEvent{
		Schema: []byte("shop"), Table: []byte("orders"), ColumnCount: 2, PrimaryKey: []uint64{0},
		ColumnName: [][]byte{[]byte("id"), []byte("at")},
		ColumnType: []byte{mysql.MYSQL_TYPE_LONG, mysql.MYSQL_TYPE_TIMESTAMP2}, ColumnMeta: []uint16{0, 0},
	}
}

// ordersRows is an update, which is what the library calls rows that it has not read itself.
func ordersRows(m *replication.TableMapEvent, id int32, at string) replication.Event {
	return &replication.RowsEvent{Table: m, Rows: [][]any{{id, "2026-01-01 00:00:00"}, {id, at}}}
}

func mysqlTransactions(t *testing.T) *transactions {
	t.Helper()
	done, err := mysql.ParseGTIDSet(mysql.MySQLFlavor, mysqlUUID+":1-4")
	if err != nil {
		t.Fatal(err)
	}
	f, err := newFilter([]string{"shop.orders"})
	if err != nil {
		t.Fatal(err)
	}
	epoch := uint64(0)
	return &transactions{
		source: "s", filter: f, done: done, local: time.FixedZone("", 8*3600),
		epoch: func() uint64 { epoch++; return epoch },
	}
}

func TestTransactionsOfMySQL(t *testing.T) {
	plain := ordersMap()
	packed := ordersMap()
	for _, c := range []struct {
		situation string
		events    []replication.Event
		position  string
		told      string
	}{
		{
			"a transaction ends with its XID, and nothing before that moves the position",
			[]replication.Event{mysqlGTID(5), mysqlQuery("BEGIN"), plain, ordersRows(plain, 7, "2026-11-21 00:00:00"), &replication.XIDEvent{}, mysqlGTID(6), mysqlQuery("BEGIN")},
			mysqlUUID + ":1-5", "update 7 " + mysqlUUID + ":5 last 2026-11-21T00:00:00Z",
		},
		{
			"of an engine without transactions it ends with COMMIT",
			[]replication.Event{mysqlGTID(5), mysqlQuery("BEGIN"), plain, ordersRows(plain, 7, "2026-11-21 00:00:00"), mysqlQuery("COMMIT")},
			mysqlUUID + ":1-5", "update 7 " + mysqlUUID + ":5 last 2026-11-21T00:00:00Z",
		},
		{
			"DDL has no BEGIN, and is a transaction of its own",
			[]replication.Event{mysqlGTID(5), mysqlQuery("ALTER TABLE orders ADD x INT"), mysqlGTID(6), mysqlQuery("CREATE USER a")},
			mysqlUUID + ":1-6", "epoch schema",
		},
		{
			"CREATE TABLE with SELECT goes on after its statement",
			[]replication.Event{mysqlGTID(5), mysqlQuery("CREATE TABLE `orders` (`id` int) START TRANSACTION"), plain, ordersRows(plain, 1, "2026-11-21 00:00:00"), &replication.XIDEvent{}},
			mysqlUUID + ":1-5", "update 1 " + mysqlUUID + ":5 last 2026-11-21T00:00:00Z",
		},
		{
			"an empty transaction moves the position",
			[]replication.Event{mysqlGTID(5), mysqlQuery("BEGIN"), mysqlQuery("COMMIT")},
			mysqlUUID + ":1-5", "",
		},
		{
			"a hole in the numbers stays one",
			[]replication.Event{mysqlGTID(7), mysqlQuery("BEGIN"), &replication.XIDEvent{}},
			mysqlUUID + ":1-4:7", "",
		},
		{
			"a GTID with a tag is counted apart",
			[]replication.Event{&replication.GtidTaggedLogEvent{GTIDEvent: replication.GTIDEvent{SID: mysqlSID, GNO: 1, Tag: mysql.NewTag("blue")}}, mysqlQuery("BEGIN"), &replication.XIDEvent{}},
			mysqlUUID + ":1-4:blue:1", "",
		},
		{
			"times in a compressed transaction are in the zone of the process",
			[]replication.Event{mysqlGTID(5), &replication.TransactionPayloadEvent{Events: []*replication.BinlogEvent{
				binlogEvent(0, mysqlQuery("BEGIN")), binlogEvent(0, packed), binlogEvent(0, ordersRows(packed, 7, "2026-11-21 08:00:00")), binlogEvent(0, &replication.XIDEvent{}),
			}}},
			mysqlUUID + ":1-5", "update 7 " + mysqlUUID + ":5 last 2026-11-21T00:00:00Z",
		},
		{
			"XA: what is prepared is not told, and what is committed is an epoch",
			[]replication.Event{
				mysqlGTID(5), mysqlQuery("XA START X'61',X'',1"), plain, ordersRows(plain, 7, "2026-11-21 00:00:00"), mysqlQuery("XA END X'61',X'',1"),
				&xaPrepare{}, mysqlGTID(6), mysqlQuery("XA COMMIT X'61',X'',1"),
			},
			mysqlUUID + ":1-6", "epoch xa",
		},
	} {
		x := mysqlTransactions(t)
		for i, e := range c.events {
			b := binlogEvent(uint32(100*(i+1)), e)
			if _, is := e.(*xaPrepare); is {
				b.Header.EventType, b.Event = replication.XA_PREPARE_LOG_EVENT, &replication.GenericEvent{Data: []byte{0}}
			}
			if err := x.add(b); err != nil {
				t.Fatalf("%s: %v", c.situation, err)
			}
		}
		var told []string
		for _, e := range x.pending {
			if e.Kind == cdc.Epoch {
				told = append(told, fmt.Sprintf("epoch %s", e.Reason))
				continue
			}
			line := fmt.Sprintf("%s %s %s", e.Kind, e.Key, e.Transaction)
			if e.Last {
				line += " last"
			}
			at, _ := e.After.Get("at")
			told = append(told, line+" "+at.(time.Time).Format(time.RFC3339))
		}
		if got := x.done.String(); got != c.position {
			t.Errorf("%s: position %s, want %s", c.situation, got, c.position)
		}
		if got := strings.Join(told, "; "); got != c.told {
			t.Errorf("%s:\n got %s\nwant %s", c.situation, got, c.told)
		}
		// What is saved is read again, and is the same set.
		again, err := mysql.ParseGTIDSet(mysql.MySQLFlavor, x.done.String())
		if err != nil || !again.Equal(x.done) {
			t.Errorf("%s: read again as %v, %v", c.situation, again, err)
		}
	}
}

// xaPrepare stands for an event that the library has no type for.
type xaPrepare struct{ replication.GenericEvent }
