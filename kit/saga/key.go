package saga

import (
	"fmt"
	"strconv"
	"strings"
)

// HeaderKey is the field of HTTP, and in lower case the key of gRPC metadata, in which a Remote's key travels.
const HeaderKey = "Saga-Key"

// Key is one effect of one saga.
type Key struct {
	Saga, Step string
	Undo       bool  // the compensation, not the action
	Born       int64 // when the saga was started, in milliseconds since 1970 by the clock of its log
}

// String is "id/step/do/born" or "id/step/undo/born".
func (k Key) String() string {
	kind := "do"
	if k.Undo {
		kind = "undo"
	}
	return k.Saga + "/" + k.Step + "/" + kind + "/" + strconv.FormatInt(k.Born, 10)
}

// ParseKey reads what String wrote. Anything else is ErrKey.
func ParseKey(s string) (Key, error) {
	part := strings.Split(s, "/")
	if len(part) != 4 || !validName(part[0]) || !validName(part[1]) || part[2] != "do" && part[2] != "undo" {
		return Key{}, fmt.Errorf("%w: %.200q", ErrKey, s)
	}
	born, err := strconv.ParseInt(part[3], 10, 64)
	if err != nil || born < 0 || strconv.FormatInt(born, 10) != part[3] {
		return Key{}, fmt.Errorf("%w: %.200q", ErrKey, s)
	}
	return Key{Saga: part[0], Step: part[1], Undo: part[2] == "undo", Born: born}, nil
}
