package orca

import (
	"encoding/binary"
	"math"
)

// Fields of xds.data.orca.v3.OrcaLoadReport that are kept, and the types of the wire.
const (
	fieldCPU          = 1
	fieldMemory       = 2
	fieldNamedMetrics = 8
	fieldApplication  = 9

	wireVarint  = 0
	wireFixed64 = 1
	wireBytes   = 2
	wireFixed32 = 5
)

// wire is what is left of a message.
type wire []byte

// next reads a field: its number, and its bytes, or for a fixed64 its bits. ok is false for what is no field.
func (w *wire) next() (field, kind uint64, bits uint64, inside []byte, ok bool) {
	tag, n := binary.Uvarint(*w)
	if n <= 0 || tag>>3 == 0 || tag>>3 >= 1<<29 {
		return
	}
	*w = (*w)[n:]
	field, kind = tag>>3, tag&7
	size := 0
	switch kind {
	case wireVarint:
		_, size = binary.Uvarint(*w)
		if size <= 0 {
			return
		}
	case wireFixed64:
		size = 8
	case wireFixed32:
		size = 4
	case wireBytes:
		length, n := binary.Uvarint(*w)
		if n <= 0 || length > uint64(len(*w)-n) {
			return
		}
		*w = (*w)[n:]
		size = int(length)
	default: // groups, which proto3 does not have
		return
	}
	if size > len(*w) {
		return
	}
	inside, *w = (*w)[:size], (*w)[size:]
	if kind == wireFixed64 {
		bits = binary.LittleEndian.Uint64(inside)
	}
	return field, kind, bits, inside, true
}

// parseMessage reads a report in the form of Protocol Buffers. A field that comes twice is not an error there: the last one
// holds, and decoders of others would say so, too.
func parseMessage(b []byte) (Report, error) {
	var r Report
	for w := wire(b); len(w) > 0; {
		number, kind, bits, inside, ok := w.next()
		if !ok {
			return Report{}, ErrMalformed
		}
		var to *float64
		switch {
		case number == fieldCPU && kind == wireFixed64:
			to = &r.CPU
		case number == fieldMemory && kind == wireFixed64:
			to = &r.Memory
		case number == fieldApplication && kind == wireFixed64:
			to = &r.Application
		case number == fieldNamedMetrics && kind == wireBytes:
			latency, v, ok := namedMetric(inside)
			if !ok {
				return Report{}, ErrMalformed
			}
			if !latency {
				continue
			}
			to, bits = &r.LatencyMS, math.Float64bits(v)
		default:
			continue
		}
		*to = math.Float64frombits(bits)
		if err := check(*to); err != nil {
			return Report{}, err
		}
	}
	return r, nil
}

// namedMetric reads an entry of the map: a message of a key and a value. latency tells whether it is that of the latency.
func namedMetric(b []byte) (latency bool, v float64, ok bool) {
	for w := wire(b); len(w) > 0; {
		number, kind, bits, inside, ok := w.next()
		switch {
		case !ok:
			return false, 0, false
		case number == 1 && kind == wireBytes:
			latency = string(inside) == latencyMetric
		case number == 2 && kind == wireFixed64:
			v = math.Float64frombits(bits)
		}
	}
	return latency, v, true
}
