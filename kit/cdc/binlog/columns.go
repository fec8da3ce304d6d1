package binlog

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-mysql-org/go-mysql/mysql"
	"github.com/go-mysql-org/go-mysql/replication"

	"github.com/yumen-io/yumen/kit/cdc"
)

// columns is what is known of a table from the event that precedes its rows.
type columns struct {
	of    *replication.TableMapEvent
	names []string
	kinds []columnKind
	width []int      // of BINARY columns, whose zeros at the end the binlog leaves out
	terms [][]string // of ENUM and SET columns
	key   []int
	zone  *time.Location // in which the library writes TIMESTAMPs
}

type columnKind uint8

const (
	plain columnKind = iota
	text
	latin1
	raw
	padded
	enum
	set
	bit
	timestamp
)

// newColumns returns nil if the event does not have the columns' names.
func newColumns(t *replication.TableMapEvent, charsets map[uint64]string, zone *time.Location) *columns {
	n := int(t.ColumnCount)
	if len(t.ColumnName) != n {
		return nil
	}
	c := &columns{of: t, names: make([]string, n), kinds: make([]columnKind, n), width: make([]int, n), terms: make([][]string, n), zone: zone}
	collations, enums, sets, termCollations := t.CollationMap(), t.EnumStrValueMap(), t.SetStrValueMap(), t.EnumSetCollationMap()
	for i := range n {
		c.names[i] = string(t.ColumnName[i])
		switch t.ColumnType[i] {
		case mysql.MYSQL_TYPE_TIMESTAMP, mysql.MYSQL_TYPE_TIMESTAMP2:
			c.kinds[i] = timestamp
		case mysql.MYSQL_TYPE_BIT:
			c.kinds[i] = bit
		case mysql.MYSQL_TYPE_GEOMETRY, mysql.MYSQL_TYPE_VECTOR:
			c.kinds[i] = raw
		}
		if terms, ok := enums[i]; ok {
			c.kinds[i], c.terms[i] = enum, slices.Clone(terms)
		}
		if terms, ok := sets[i]; ok {
			c.kinds[i], c.terms[i] = set, slices.Clone(terms)
		}
		if charsets[termCollations[i]] == "latin1" {
			for n, term := range c.terms[i] {
				c.terms[i][n] = fromLatin1(term)
			}
		}
		if t.IsCharacterColumn(i) && c.kinds[i] == plain {
			c.kinds[i] = textKind(charsets[collations[i]])
			if c.kinds[i] == raw && t.ColumnType[i] == mysql.MYSQL_TYPE_STRING && charsets[collations[i]] == "binary" {
				c.kinds[i], c.width[i] = padded, stringWidth(t.ColumnMeta[i])
			}
		}
	}
	for _, k := range t.PrimaryKey {
		if k < uint64(n) {
			c.key = append(c.key, int(k))
		}
	}
	return c
}

func textKind(charset string) columnKind {
	switch charset {
	case "utf8", "utf8mb3", "utf8mb4", "ascii":
		return text
	case "latin1":
		return latin1
	}
	return raw
}

// stringWidth is the length of a CHAR or BINARY in bytes, of which the upper two bits hide in the type.
func stringWidth(meta uint16) int {
	if meta < 256 {
		return int(meta)
	}
	high, low := meta>>8, meta&0xff
	return int(low | (high&0x30^0x30)<<4)
}

func (c *columns) row(values []any) (*cdc.Row, error) {
	if len(values) != len(c.names) {
		return nil, fmt.Errorf("a row of %d columns in a table of %d", len(values), len(c.names))
	}
	r := &cdc.Row{Columns: c.names, Values: values}
	for i, v := range values {
		values[i] = c.value(i, v)
	}
	return r, nil
}

func (c *columns) value(i int, v any) any {
	switch v := v.(type) {
	case nil:
		return nil
	case int8:
		return int64(v)
	case int16:
		return int64(v)
	case int32:
		return int64(v)
	case int:
		return int64(v)
	case uint8:
		return uint64(v)
	case uint16:
		return uint64(v)
	case uint32:
		return uint64(v)
	case int64:
		switch c.kinds[i] {
		case bit:
			return uint64(v)
		case enum:
			return c.term(i, v)
		case set:
			return c.joined(i, uint64(v))
		}
		return v
	case string:
		switch c.kinds[i] {
		case timestamp:
			return instant(v, c.zone)
		case latin1:
			return fromLatin1(v)
		case raw:
			return []byte(v)
		case padded:
			return pad([]byte(v), c.width[i])
		}
		// The library's strings lie in the packet, of which they would keep alive the whole.
		return strings.Clone(v)
	case []byte:
		switch c.kinds[i] {
		case text:
			return string(v)
		case latin1:
			return fromLatin1(string(v))
		}
		return append([]byte{}, v...)
	}
	return v
}

// term is the name of an ENUM's value; 0 is what the server puts for one that does not exist.
func (c *columns) term(i int, v int64) string {
	if v < 1 || v > int64(len(c.terms[i])) {
		return ""
	}
	return c.terms[i][v-1]
}

func (c *columns) joined(i int, v uint64) string {
	var names []string
	for n, name := range c.terms[i] {
		if v&(1<<n) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, ",")
}

func instant(s string, zone *time.Location) time.Time {
	t, err := time.ParseInLocation(time.DateTime, s, zone) // takes a fraction too
	if err != nil {
		return time.Time{}
	}
	return t.UTC()
}

func pad(b []byte, width int) []byte {
	if len(b) >= width {
		return b
	}
	return append(b, make([]byte, width-len(b))...)
}

// upper80 is what MySQL's latin1, which is Windows-1252, has at 0x80 to 0x9f; what Windows leaves open stays as it is.
var upper80 = [32]rune{
	0x20ac, 0x81, 0x201a, 0x192, 0x201e, 0x2026, 0x2020, 0x2021, 0x2c6, 0x2030, 0x160, 0x2039, 0x152, 0x8d, 0x17d, 0x8f,
	0x90, 0x2018, 0x2019, 0x201c, 0x201d, 0x2022, 0x2013, 0x2014, 0x2dc, 0x2122, 0x161, 0x203a, 0x153, 0x9d, 0x17e, 0x178,
}

func fromLatin1(s string) string {
	var b strings.Builder
	b.Grow(len(s))
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 0x80 && c < 0xa0:
			b.WriteRune(upper80[c-0x80])
		default:
			b.WriteRune(rune(c))
		}
	}
	return b.String()
}

// keyOf writes the primary key of a row.
func (c *columns) keyOf(r *cdc.Row) string {
	if len(c.key) == 1 {
		return keyText(r.Values[c.key[0]])
	}
	var b strings.Builder
	for n, i := range c.key {
		if n > 0 {
			b.WriteByte(',')
		}
		b.WriteString(keyEscape.Replace(keyText(r.Values[i])))
	}
	return b.String()
}

var keyEscape = strings.NewReplacer(`\`, `\\`, ",", `\,`)

func keyText(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case []byte:
		return fmt.Sprintf("%x", v)
	case time.Time:
		return v.Format("2006-01-02T15:04:05.999999Z07:00")
	}
	return fmt.Sprint(v)
}
