package id

import (
	"bytes"
	"database/sql/driver"
	"errors"
	"fmt"
	"strconv"
)

// ID is one id: a positive number of 63 bits. As text and in JSON it is a string of decimal digits, because clients that
// keep numbers as doubles (JavaScript) lose digits above 2^53; in a database it is a BIGINT.
type ID int64

// ErrSyntax is what errors of reading an id from text, JSON or a database wrap.
var ErrSyntax = errors.New("not an id")

// jsonNumberMax is 2^53: what a JSON number above it was before some client rounded it cannot be known.
const jsonNumberMax = 1 << 53

// ParseID reads the decimal digits of an id: 0 to 2^63-1, no sign, no space. Errors wrap ErrSyntax.
func ParseID(s string) (ID, error) { return parse(s) }

func parse[T string | []byte](s T) (ID, error) {
	if len(s) == 0 || len(s) > 19 {
		return 0, fmt.Errorf("id: %q: %w", cut(s), ErrSyntax)
	}
	var v uint64 // nineteen digits fit
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, fmt.Errorf("id: %q: %w", cut(s), ErrSyntax)
		}
		v = v*10 + uint64(s[i]-'0')
	}
	if v > 1<<63-1 {
		return 0, fmt.Errorf("id: %q: %w", cut(s), ErrSyntax)
	}
	return ID(v), nil
}

// cut keeps errors short whatever was sent.
func cut[T string | []byte](s T) string {
	if len(s) > 24 {
		return string(s[:24]) + "..."
	}
	return string(s)
}

// String is the id in decimal digits.
func (v ID) String() string { return strconv.FormatInt(int64(v), 10) }

// AppendText appends the digits to b; it implements encoding.TextAppender and never fails.
func (v ID) AppendText(b []byte) ([]byte, error) { return strconv.AppendInt(b, int64(v), 10), nil }

// MarshalText writes the digits, so that ids can be keys of JSON objects.
func (v ID) MarshalText() ([]byte, error) { return v.AppendText(nil) }

// UnmarshalText reads what MarshalText wrote.
func (v *ID) UnmarshalText(text []byte) (err error) {
	got, err := parse(text)
	if err == nil {
		*v = got
	}
	return err
}

// MarshalJSON writes the id as a string: "8123456789012345678".
func (v ID) MarshalJSON() ([]byte, error) {
	b := make([]byte, 0, 22)
	b = append(b, '"')
	b = strconv.AppendInt(b, int64(v), 10)
	return append(b, '"'), nil
}

// UnmarshalJSON reads a string of digits, or a number up to 2^53; a larger number may have been rounded on its way and is
// refused. null leaves the id as it was. Errors wrap ErrSyntax.
func (v *ID) UnmarshalJSON(b []byte) error {
	if bytes.Equal(b, []byte("null")) {
		return nil
	}
	if len(b) >= 2 && b[0] == '"' && b[len(b)-1] == '"' {
		return v.UnmarshalText(b[1 : len(b)-1])
	}
	got, err := parse(b)
	if err != nil {
		return err
	}
	if got > jsonNumberMax {
		return fmt.Errorf("id: the JSON number %s is above 2^53 and may have been rounded, send a string: %w", cut(b), ErrSyntax)
	}
	*v = got
	return nil
}

// Value implements driver.Valuer: an int64.
func (v ID) Value() (driver.Value, error) { return int64(v), nil }

// Scan implements sql.Scanner: from an int64, or from digits as []byte or string. NULL and negative numbers are errors
// that wrap ErrSyntax.
func (v *ID) Scan(src any) error {
	switch src := src.(type) {
	case int64:
		if src < 0 {
			return fmt.Errorf("id: %d in a column: %w", src, ErrSyntax)
		}
		*v = ID(src)
		return nil
	case []byte:
		return v.UnmarshalText(src)
	case string:
		return v.UnmarshalText([]byte(src))
	default:
		return fmt.Errorf("id: a %T in a column: %w", src, ErrSyntax)
	}
}
