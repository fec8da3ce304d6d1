package extauth

import (
	"strings"

	"github.com/yumen-io/yumen/gateway"
	"github.com/yumen-io/yumen/policy/identity"
	"google.golang.org/protobuf/encoding/protowire"
)

// changesMax bounds the fields that one answer sets, adds and removes.
const changesMax = 64

// readCheck reads a CheckResponse. Not ok: it is malformed, says what cannot be done, or changes what a service may not. Half of what
// it says is never done.
//
//	CheckResponse{status = 1: google.rpc.Status{code = 1}, denied_response = 2, ok_response = 3, error_response = 5}
//	OkHttpResponse{headers = 2, headers_to_remove = 5, response_headers_to_add = 6, query_parameters_to_set = 7, _to_remove = 8}
//	DeniedHttpResponse{status = 1: HttpStatus{code = 1}, headers = 2, body = 3}
func readCheck(b []byte, bodyMax int) (v *verdict, ok bool) {
	var status, denied, allowed []byte // nil: not there; messages that come in parts are one (merging)
	fine := each(b, func(n protowire.Number, _ uint64, m []byte) bool {
		switch n {
		case 1:
			status = append(status[:len(status):len(status)], m...)
			status = orEmpty(status)
		case 2:
			denied, allowed = orEmpty(append(denied[:len(denied):len(denied)], m...)), nil // of a oneof the last counts
		case 3:
			denied, allowed = nil, orEmpty(append(allowed[:len(allowed):len(allowed)], m...))
		case 5:
			return false // it could not decide
		}
		return true
	})
	code := uint64(0)
	fine = fine && each(status, func(n protowire.Number, value uint64, _ []byte) bool {
		if n == 1 {
			code = value
		}
		return true
	})
	switch {
	case !fine, code == 0 && denied != nil, status == nil && allowed == nil && denied == nil:
		return nil, false // no word at all is none, though Envoy takes it for a yes
	case code == 0:
		v = &verdict{says: yes, status: 200}
		return v, v.readAllowed(allowed)
	}
	v = &verdict{says: no, status: 403}
	return v, v.readDenied(denied, bodyMax)
}

func orEmpty(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

func (v *verdict) readAllowed(b []byte) bool {
	return each(b, func(n protowire.Number, _ uint64, m []byte) bool {
		switch n {
		case 2:
			name, text, do, ok := readOption(m)
			v.changes = append(v.changes, change{[]byte(name), []byte(text), do})
			return ok && len(v.changes) <= changesMax
		case 5:
			v.changes = append(v.changes, change{name: []byte(string(m)), do: remove})
			return isName(string(m)) && len(v.changes) <= changesMax
		case 6:
			return v.tellOption(m)
		case 7, 8:
			return false // the query is part of what was asked about
		}
		return true
	})
}

func (v *verdict) readDenied(b []byte, bodyMax int) bool {
	var body []byte
	fine := each(b, func(n protowire.Number, _ uint64, m []byte) bool {
		switch n {
		case 1:
			return each(m, func(n protowire.Number, value uint64, _ []byte) bool {
				if n == 1 && (value >= 300 && value != 304 && value <= 599) {
					v.status = int(value)
				}
				return true
			})
		case 2:
			return v.tellOption(m)
		case 3:
			body = m
		}
		return true
	})
	if v.status < 400 {
		v.says, v.once = elsewhere, true
	}
	if len(body) <= bodyMax {
		v.takeBody(append([]byte(nil), body...), "")
	}
	return fine
}

// tellOption notes a field that the client is told.
func (v *verdict) tellOption(m []byte) bool {
	name, text, _, ok := readOption(m)
	v.client = append(v.client, gateway.Field{Name: strings.ToLower(name), Value: text})
	v.once = v.once || strings.EqualFold(name, "set-cookie")
	return ok && len(v.client) <= changesMax
}

// readOption reads a HeaderValueOption: header = 1: {key = 1, value = 2, raw_value = 3}, append = 2: BoolValue, append_action = 3. A
// field replaces those of its name unless the option says otherwise, as with Envoy.
func readOption(b []byte) (name, text string, do doing, ok bool) {
	do = set
	ok = each(b, func(n protowire.Number, value uint64, m []byte) bool {
		switch n {
		case 1:
			return each(m, func(n protowire.Number, _ uint64, m []byte) bool {
				switch n {
				case 1:
					name = string(m)
				case 2, 3:
					text = string(m)
				}
				return true
			})
		case 2:
			return each(m, func(n protowire.Number, value uint64, _ []byte) bool {
				if n == 1 && value != 0 {
					do = add
				}
				return true
			})
		case 3:
			switch value {
			case 1:
				do = addIfAbsent
			case 2:
				do = set
			case 3:
				do = setIfPresent
			}
		}
		return true
	})
	return name, text, do, ok && isName(name) && identity.FieldValue([]byte(text))
}

// isName tells whether a service may change or say a field of this name (RFC 9110 5.6.2).
func isName(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c <= ' ' || c >= 0x7f || strings.IndexByte("\"(),/:;<=>?@[\\]{}", c) >= 0 {
			return false
		}
	}
	return len(s) <= 256 && mayTell(s)
}

// each calls do with the fields of a message: the number, and a varint's value or the bytes of what has a length. It returns false if
// the message is malformed or do does.
func each(b []byte, do func(n protowire.Number, value uint64, m []byte) bool) bool {
	for len(b) > 0 {
		n, kind, used := protowire.ConsumeTag(b)
		if used < 0 {
			return false
		}
		b = b[used:]
		var value uint64
		var m []byte
		switch kind {
		case protowire.VarintType:
			value, used = protowire.ConsumeVarint(b)
		case protowire.BytesType:
			m, used = protowire.ConsumeBytes(b)
		default:
			used = protowire.ConsumeFieldValue(n, kind, b)
		}
		if used < 0 {
			return false
		}
		b = b[used:]
		if kind != protowire.BytesType && kind != protowire.VarintType {
			continue // no field that is read here has another type
		}
		if !do(n, value, m) {
			return false
		}
	}
	return true
}
