package local

import (
	"encoding/binary"
	"errors"

	"github.com/yumen-io/yumen/kit/mq"
)

var errHeaders = errors.New("local: the headers of a message are damaged")

// appendHeaders writes headers as they lie in the file: length and bytes of each name and value, lengths as varints.
func appendHeaders(b []byte, headers []mq.Header) []byte {
	for _, h := range headers {
		b = binary.AppendUvarint(b, uint64(len(h.Key)))
		b = append(b, h.Key...)
		b = binary.AppendUvarint(b, uint64(len(h.Value)))
		b = append(b, h.Value...)
	}
	return b
}

func parseHeaders(b []byte) (headers []mq.Header, err error) {
	for len(b) > 0 {
		var key, value []byte
		if key, b, err = parseBytes(b); err != nil {
			return nil, err
		}
		if value, b, err = parseBytes(b); err != nil {
			return nil, err
		}
		headers = append(headers, mq.Header{Key: string(key), Value: value})
	}
	return headers, nil
}

func parseBytes(b []byte) (field, rest []byte, err error) {
	n, size := binary.Uvarint(b)
	if size <= 0 || n > uint64(len(b)-size) {
		return nil, nil, errHeaders
	}
	b = b[size:]
	return b[:n:n], b[n:], nil
}
