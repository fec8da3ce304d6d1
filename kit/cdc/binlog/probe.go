package binlog

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/go-mysql-org/go-mysql/client"
	"github.com/go-mysql-org/go-mysql/mysql"

	"github.com/yumen-io/yumen/kit/cdc"
)

// ErrServer is what errors of Run wrap that say how the server has to be set up.
var ErrServer = errors.New("binlog: the server cannot be followed")

// server is what has been asked of it before its binlog is read.
type server struct {
	conn     *client.Conn
	flavor   string
	origin   string // of this server and no other
	version  string
	charsets map[uint64]string // by number of collation
}

// line is a connection that is cut when its context ends, and on which a read fails after a silence.
type line struct {
	net.Conn
	silence time.Duration
	cut     func() bool
}

// Read begins the silence anew. The library sets a deadline when a packet has come, and would count the time that the
// handler takes against the server.
func (l *line) Read(b []byte) (int, error) {
	if err := l.Conn.SetReadDeadline(time.Now().Add(l.silence)); err != nil {
		return 0, err
	}
	return l.Conn.Read(b)
}

// SetReadDeadline never fails. The library takes a refusal for a transport without deadlines, and then closes the connection
// while its own goroutine still reads from it, which is a data race. On a connection that was cut the read fails anyway.
func (l *line) SetReadDeadline(t time.Time) error {
	_ = l.Conn.SetReadDeadline(t)
	return nil
}

func (l *line) Close() error {
	l.cut()
	return l.Conn.Close()
}

// dialer makes lines that end with ctx, whatever context the library dials with.
func dialer(ctx context.Context, silence time.Duration) client.Dialer {
	return func(_ context.Context, network, address string) (net.Conn, error) {
		conn, err := (&net.Dialer{Timeout: silence}).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &line{Conn: conn, silence: silence, cut: context.AfterFunc(ctx, func() { _ = conn.Close() })}, nil
	}
}

func probe(ctx context.Context, c *Config) (*server, error) {
	conn, err := client.ConnectWithDialer(ctx, "tcp", c.Addr, c.User, c.Password, "", dialer(ctx, c.Silence), func(conn *client.Conn) error {
		conn.SetTLSConfig(c.TLS)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("binlog: connecting to %s: %w", c.Addr, err)
	}
	s := &server{conn: conn}
	if err := s.check(); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return s, nil
}

func (s *server) check() error {
	row, err := s.row("SELECT @@version, @@server_id, @@log_bin, @@binlog_format, @@binlog_row_image")
	if err != nil {
		return err
	}
	var wrong []error
	want := func(name, value string, have string) {
		if !strings.EqualFold(have, value) {
			wrong = append(wrong, fmt.Errorf("%w: %s is %s, want %s", ErrServer, name, have, value))
		}
	}
	s.version, s.flavor = row[0], mysql.MySQLFlavor
	s.origin = "server_id " + row[1]
	if strings.Contains(row[0], "MariaDB") {
		s.flavor = mysql.MariaDBFlavor
	}
	want("log_bin", "1", row[2])
	want("binlog_format", "ROW", row[3])
	want("binlog_row_image", "FULL", row[4])
	metadata, err := s.row("SELECT @@binlog_row_metadata")
	if err != nil {
		if isServerError(err) {
			return fmt.Errorf("%w: %s does not log the names of columns; MariaDB does from 10.5, MySQL from 8.0.1", ErrServer, s.version)
		}
		return err
	}
	want("binlog_row_metadata", "FULL", metadata[0])
	if s.flavor == mysql.MySQLFlavor {
		row, err := s.row("SELECT @@server_uuid, @@gtid_mode, @@binlog_row_value_options")
		if err != nil {
			return err
		}
		s.origin = "server_uuid " + row[0]
		want("gtid_mode", "ON", row[1])
		want("binlog_row_value_options", "", row[2])
	}
	if err := errors.Join(wrong...); err != nil {
		return err
	}
	return s.readCharsets()
}

// readCharsets asks for the numbers that the binlog has for collations. MariaDB has some of them in another table only.
func (s *server) readCharsets() error {
	s.charsets = make(map[uint64]string)
	for _, query := range []string{
		"SELECT ID, CHARACTER_SET_NAME FROM information_schema.COLLATIONS WHERE ID IS NOT NULL",
		"SELECT ID, CHARACTER_SET_NAME FROM information_schema.COLLATION_CHARACTER_SET_APPLICABILITY",
	} {
		r, err := s.conn.Execute(query)
		if isServerError(err) {
			continue // a server without that column
		}
		if err != nil {
			return fmt.Errorf("binlog: asking for character sets: %w", err)
		}
		for i := range r.RowNumber() {
			id, err1 := r.GetUint(i, 0)
			name, err2 := r.GetString(i, 1)
			if err1 == nil && err2 == nil {
				s.charsets[id] = strings.Clone(name)
			}
		}
	}
	return nil
}

// row asks for one row, in which NULL is "".
func (s *server) row(query string, args ...any) ([]string, error) {
	r, err := s.conn.Execute(query, args...)
	if err != nil {
		return nil, fmt.Errorf("binlog: asking %q: %w", query, err)
	}
	defer r.Close()
	if r.RowNumber() == 0 {
		return nil, nil
	}
	row := make([]string, r.ColumnNumber())
	for i := range row {
		text, err := r.GetString(0, i)
		if err != nil {
			return nil, fmt.Errorf("binlog: asking %q: %w", query, err)
		}
		row[i] = strings.Clone(text)
	}
	return row, nil
}

// present is where the binlog ends now.
func (s *server) present() (cdc.Checkpoint, error) {
	row, err := s.row("SHOW MASTER STATUS")
	if isUnknownStatement(err) {
		row, err = s.row("SHOW BINARY LOG STATUS") // MySQL from 8.4
	}
	if err != nil {
		return cdc.Checkpoint{}, err
	}
	if len(row) < 2 {
		return cdc.Checkpoint{}, fmt.Errorf("%w: it has no binlog", ErrServer)
	}
	at := cdc.Checkpoint{Origin: s.origin, File: row[0]}
	if at.Offset, err = strconv.ParseUint(row[1], 10, 64); err != nil {
		return at, fmt.Errorf("binlog: offset of the present: %w", err)
	}
	if s.flavor == mysql.MySQLFlavor {
		if len(row) > 4 {
			at.Position = strings.Join(strings.Fields(row[4]), "")
		}
		return at, nil
	}
	gtid, err := s.row("SELECT BINLOG_GTID_POS(?, ?)", at.File, at.Offset)
	if err != nil {
		return at, err
	}
	at.Position = gtid[0]
	return at, nil
}

// judge tells whether the server can go on from a checkpoint, as far as it can be told before trying, and if not why not.
//
// A GTID alone does not say it: after RESET MASTER the numbers begin anew, and once they have passed the checkpoint the
// server takes it for its own. What stood at the checkpoint's place in the binlog says it.
func (s *server) judge(c cdc.Checkpoint) (cdc.Reason, string, error) {
	if s.flavor == mysql.MySQLFlavor {
		return s.judgeMySQL(c)
	}
	if c.Origin != s.origin {
		return "", "", nil // another server of the same replication: it knows the GTID, in strict mode, or refuses it
	}
	row, err := s.row("SELECT BINLOG_GTID_POS(?, ?)", c.File, c.Offset)
	if err != nil && !isServerError(err) {
		return "", "", err
	}
	if err != nil || len(row) == 0 || row[0] == "" && c.Position != "" {
		return cdc.Gap, fmt.Sprintf("the server has no place %s:%d any more", c.File, c.Offset), nil
	}
	have, err1 := mysql.ParseMariadbGTIDSet(row[0])
	want, err2 := mysql.ParseMariadbGTIDSet(c.Position)
	if err1 != nil || err2 != nil || !have.Equal(want) {
		return cdc.History, fmt.Sprintf("at %s:%d the server has %q, the checkpoint %q", c.File, c.Offset, row[0], c.Position), nil
	}
	return "", "", nil
}

func (s *server) judgeMySQL(c cdc.Checkpoint) (cdc.Reason, string, error) {
	row, err := s.row("SELECT GTID_SUBSET(?, @@global.gtid_executed), GTID_SUBSET(@@global.gtid_purged, ?)", c.Position, c.Position)
	if err != nil {
		return "", "", err
	}
	switch {
	case row[0] != "1":
		return cdc.History, "the server has not executed all that the checkpoint has", nil
	case row[1] != "1":
		return cdc.Gap, "the server has purged what follows the checkpoint", nil
	case c.Origin != s.origin:
		return "", "", nil
	}
	r, err := s.conn.Execute("SHOW BINARY LOGS")
	if err != nil {
		return "", "", fmt.Errorf("binlog: asking for the binlogs: %w", err)
	}
	for i := range r.RowNumber() {
		name, err1 := r.GetString(i, 0)
		size, err2 := r.GetUint(i, 1)
		if err1 == nil && err2 == nil && name == c.File && size >= c.Offset {
			return "", "", nil
		}
	}
	return cdc.Gap, fmt.Sprintf("the server has no place %s:%d any more", c.File, c.Offset), nil
}

// cascades are foreign keys of followed tables whose rows InnoDB changes without a word in the binlog.
func (s *server) cascades(f *filter) ([]string, error) {
	r, err := s.conn.Execute("SELECT CONSTRAINT_SCHEMA, TABLE_NAME, CONSTRAINT_NAME FROM information_schema.REFERENTIAL_CONSTRAINTS" +
		" WHERE DELETE_RULE IN ('CASCADE', 'SET NULL') OR UPDATE_RULE IN ('CASCADE', 'SET NULL')")
	if err != nil {
		return nil, fmt.Errorf("binlog: asking for foreign keys: %w", err)
	}
	var found []string
	for i := range r.RowNumber() {
		database, _ := r.GetString(i, 0)
		table, _ := r.GetString(i, 1)
		name, _ := r.GetString(i, 2)
		if f.follows(database, table) {
			found = append(found, database+"."+table+":"+name)
		}
	}
	return found, nil
}

// isUnknownStatement does not take a missing right for a missing statement: the person who reads the log needs to know which it is.
func isUnknownStatement(err error) bool {
	var e *mysql.MyError
	return errors.As(err, &e) && e.Code == mysql.ER_PARSE_ERROR
}

func isServerError(err error) bool {
	var e *mysql.MyError
	return errors.As(err, &e)
}
