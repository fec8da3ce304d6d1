package cache

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"hash/crc32"
)

// Codec turns values to bytes and back. Both functions are called from several goroutines at once. Decode gets what Encode made, or
// what an older program made: an error makes it a miss, and the record is deleted. It must not keep src.
type Codec[V any] struct {
	Encode func(v V) ([]byte, error)
	Decode func(src []byte) (V, error)
}

// JSON is the codec that is used if none is given.
func JSON[V any]() Codec[V] {
	return Codec[V]{
		Encode: func(v V) ([]byte, error) { return json.Marshal(v) },
		Decode: func(src []byte) (v V, err error) { return v, json.Unmarshal(src, &v) },
	}
}

// A record is what is in Redis: one byte 1 for this form, one byte of its kind, the version (8 bytes, big-endian), CRC-32C of all that and
// the payload (4 bytes), the payload.
const (
	recordForm   = 1
	recordValue  = 1
	recordAbsent = 2 // there is nothing of this key; no payload
	recordHead   = 14
)

type record struct {
	absent  bool
	version uint64
	payload []byte // shares memory with what it was read from
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var errGarbage = errors.New("cache: a record in Redis cannot be read")

func appendRecord(dst []byte, r record) []byte {
	kind := byte(recordValue)
	if r.absent {
		kind = recordAbsent
	}
	begin := len(dst)
	dst = append(dst, recordForm, kind)
	dst = binary.BigEndian.AppendUint64(dst, r.version)
	sum := crc32.Update(crc32.Checksum(dst[begin:], castagnoli), castagnoli, r.payload)
	dst = binary.BigEndian.AppendUint32(dst, sum)
	return append(dst, r.payload...)
}

func parseRecord(src []byte) (record, error) {
	if len(src) < recordHead || src[0] != recordForm || (src[1] != recordValue && src[1] != recordAbsent) {
		return record{}, errGarbage
	}
	r := record{absent: src[1] == recordAbsent, version: binary.BigEndian.Uint64(src[2:]), payload: src[recordHead:]}
	sum := crc32.Update(crc32.Checksum(src[:10], castagnoli), castagnoli, r.payload)
	if sum != binary.BigEndian.Uint32(src[10:]) || r.absent && len(r.payload) > 0 {
		return record{}, errGarbage
	}
	return r, nil
}
