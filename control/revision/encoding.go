package revision

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// A revision's file is text that people can read:
//
//	yumen revision <SHA256 of everything below this line>
//	{"number":7,"time":"...","origin":"file","name":"yumen.yaml","sha256":"..."}
//	the text, as it was
//
// The first line makes every cut and every flipped bit below it known; a fault in the line itself makes it not agree.
const magic = "yumen revision "

// errDamaged is what a file that is not as it was written is refused with.
var errDamaged = errors.New("the file is not as it was written")

// encode returns the content of a revision's file.
func encode(r Revision) ([]byte, error) {
	about, err := json.Marshal(r)
	if err != nil {
		return nil, err // a time outside of the years that RFC 3339 knows
	}
	sum := sha256.New()
	sum.Write(about)
	sum.Write([]byte{'\n'})
	sum.Write(r.Text)
	file := make([]byte, 0, len(magic)+2*sha256.Size+len(about)+len(r.Text)+2)
	file = append(file, magic...)
	file = hex.AppendEncode(file, sum.Sum(nil))
	file = append(file, '\n')
	file = append(file, about...)
	file = append(file, '\n')
	return append(file, r.Text...), nil
}

// decode reads the content of a file back. The text shares the file's memory.
func decode(file []byte) (Revision, error) {
	first, rest, ok := bytes.Cut(file, []byte{'\n'})
	if !ok {
		return Revision{}, fmt.Errorf("%w: it ends within its first line", errDamaged)
	}
	if want := magic + Sum(rest); string(first) != want {
		return Revision{}, fmt.Errorf("%w: its checksum does not agree", errDamaged)
	}
	about, text, ok := bytes.Cut(rest, []byte{'\n'})
	if !ok {
		return Revision{}, fmt.Errorf("%w: it has no text", errDamaged)
	}
	var r Revision
	if err := json.Unmarshal(about, &r); err != nil {
		return Revision{}, fmt.Errorf("%w: %w", errDamaged, err)
	}
	r.Text = text
	return r, nil
}

// Names of files: numbers with leading zeros, so that a listing is in order.
const (
	suffix     = ".revision"
	unfinished = ".unfinished"
)

func fileName(number uint64) string { return fmt.Sprintf("%08d%s", number, suffix) }

func numberOf(name string) (uint64, bool) {
	digits, ok := strings.CutSuffix(name, suffix)
	if !ok {
		return 0, false
	}
	number, err := strconv.ParseUint(digits, 10, 64)
	return number, err == nil && fileName(number) == name
}
