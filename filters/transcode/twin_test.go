package transcode

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
	"pgregory.net/rapid"
)

// plainWay is the twin: protojson on dynamicpb messages, as the package would be without its tables.
type plainWay struct {
	d       protoreflect.MessageDescriptor
	types   *dynamicpb.Types
	discard bool
	always  bool
}

func (w plainWay) wire(jsonText []byte) ([]byte, error) {
	m := dynamicpb.NewMessage(w.d)
	o := protojson.UnmarshalOptions{Resolver: w.types, AllowPartial: true, DiscardUnknown: w.discard}
	if err := o.Unmarshal(jsonText, m); err != nil {
		return nil, err
	}
	return proto.MarshalOptions{AllowPartial: true}.Marshal(m)
}

func (w plainWay) json(wire []byte) (out []byte, err error) {
	// A map's entry that has a key, and then another one of the wrong wire type, makes proto.Unmarshal panic on dynamic messages
	// ("cannot convert nil to map key", protobuf 1.36.12).
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("cannot parse: %v", p)
		}
	}()
	m := dynamicpb.NewMessage(w.d)
	if err := (proto.UnmarshalOptions{Resolver: w.types, AllowPartial: true}).Unmarshal(wire, m); err != nil {
		return nil, err
	}
	return protojson.MarshalOptions{Resolver: w.types, AllowPartial: true, EmitDefaultValues: w.always}.Marshal(m)
}

func (w plainWay) same(t interface{ Fatalf(string, ...any) }, a, b []byte) {
	x, y := dynamicpb.NewMessage(w.d), dynamicpb.NewMessage(w.d)
	o := proto.UnmarshalOptions{Resolver: w.types, AllowPartial: true}
	if err := o.Unmarshal(a, x); err != nil {
		t.Fatalf("%x is malformed: %v", a, err)
	}
	if err := o.Unmarshal(b, y); err != nil {
		t.Fatalf("%x is malformed: %v", b, err)
	}
	if !proto.Equal(x, y) {
		t.Fatalf("got  %v\nwant %v", x, y)
	}
}

// sameJSON compares documents, whatever the order of their members.
func sameJSON(t interface{ Fatalf(string, ...any) }, got, want []byte) {
	if x, y := document(t, got), document(t, want); !reflect.DeepEqual(x, y) {
		t.Fatalf("got  %s\nwant %s", got, want)
	}
}

func document(t interface{ Fatalf(string, ...any) }, b []byte) any {
	var v any
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%s: %v", b, err)
	}
	if _, err := d.Token(); err == nil {
		t.Fatalf("%s is more than one document", b)
	}
	return v
}

// stricter tells whether a text is one of the few that protojson takes and we do not.
func stricter(f *Fault) bool {
	return f.Reason == NestingTooDeep || // 10000 there
		f.Reason == BadValue && strings.Contains(f.Text, "no time of RFC 3339") || // one digit for hours, a comma for the point
		f.Reason == BadValue && strings.HasPrefix(f.Text, `".s" `) || f.Reason == BadValue && strings.HasPrefix(f.Text, `"-.s" `) ||
		f.Reason == BadValue && strings.HasPrefix(f.Text, `"+.s" `) || // of nothing
		f.Reason == WrongType && strings.Contains(f.Text, "a key that is no") // "+1" and "01"
}

// compareBothWays puts a JSON document through us and the twin.
func compareBothWays(t interface{ Fatalf(string, ...any) }, s *Schema, w plainWay, text []byte) {
	var c Converter
	b := s.bindings[0]
	frame, f := c.Request(nil, b, &Captures{}, nil, nil, text)
	if len(bytes.TrimSpace(text)) == 0 {
		return // we take nothing for {}
	}
	want, err := w.wire(text)
	switch {
	case f != nil && err == nil && !stricter(f):
		t.Fatalf("%s: we say %v, protojson takes it", text, f)
	case f == nil && err != nil && !strings.Contains(err.Error(), "recursion"):
		t.Fatalf("%s: we take it, protojson says %v", text, err)
	}
	if f != nil || err != nil {
		return
	}
	got := frame[FrameHeadBytes:]
	w.same(t, got, want)
	compareJSON(t, s, w, got)
}

// compareJSON prints a message in wire format both ways.
func compareJSON(t interface{ Fatalf(string, ...any) }, s *Schema, w plainWay, wire []byte) {
	var c Converter
	got, f := c.Response(nil, s.bindings[0], wire)
	want, err := w.json(wire)
	switch {
	case f != nil && err == nil && f.Reason != NestingTooDeep:
		t.Fatalf("%x: we say %v, protojson %s", wire, f, want)
	case f == nil && err != nil && !knownLeniency(err):
		t.Fatalf("%x: we print %s, protojson says %v", wire, got, err)
	}
	if f != nil || err != nil {
		return
	}
	sameJSON(t, got, want)
}

// knownLeniency tells whether an error is one that only reading all of a message finds: we read what we print, and not a value
// that another one replaces.
func knownLeniency(err error) bool {
	return strings.Contains(err.Error(), "invalid UTF-8") || strings.Contains(err.Error(), "cannot parse") ||
		strings.Contains(err.Error(), "unexpected EOF") || strings.Contains(err.Error(), "recursion")
}

var samples = []string{
	`{}`, ` { } `, `null`, `[]`, `"x"`, `{"aBool":true,"a_int32":1}`, `{"aBool":true,"an_int32":-1,"anInt64":"-9223372036854775808"}`,
	`{"anInt32":2147483647,"aSint32":-2147483648,"aUint32":4294967295,"anInt64":"9223372036854775807","aUint64":"18446744073709551615"}`,
	`{"anInt32":1e2,"aSint64":1.0,"aUint32":"10e-1","aFixed32":0.5e1,"aSfixed64":-0}`, `{"anInt32":1.5}`, `{"anInt32":2147483648}`,
	`{"aUint32":-1}`, `{"anInt32":"1 "}`, `{"anInt32":""}`, `{"anInt32":01}`, `{"anInt32":100000000000000000000e-20}`,
	`{"aFloat":1.5,"aDouble":"NaN"}`, `{"aFloat":"Infinity","aDouble":"-Infinity"}`, `{"aFloat":1e39}`, `{"aDouble":1e400}`, `{"aDouble":"1e-7"}`,
	`{"aDouble":1e21,"aFloat":1e-7}`, `{"aString":"a\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00é😀"}`, `{"aString":"\ud83d"}`, `{"aString":"\u0000"}`,
	"{\"aString\":\"\xff\"}", "{\"aString\":\"\x01\"}", `{"aBytes":"aGk="}`, `{"aBytes":"aGk"}`, `{"aBytes":"-_-_"}`, `{"aBytes":"+/+/"}`,
	`{"aBytes":"a"}`, `{"aBytes":"!"}`, `{"color":"RED"}`, `{"color":2}`, `{"color":77}`, `{"color":"BLUE"}`, `{"color":null}`,
	`{"item":{"name":"a","price":3,"inner":{"inner":{"name":"deep"}}}}`, `{"item":null,"all":{"all":{"aBool":true}}}`,
	`{"item":{"name":"a"},"item":{"price":2}}`, `{"maybe":0,"maybeText":""}`, `{"number":0}`, `{"number":1,"text":"x"}`, `{"number":null,"text":"x"}`,
	`{"thing":{}}`, `{"numbers":[1,-1,300],"signed":["-1"],"doubles":[1,2.5],"tags":["","x"],"colors":["RED",0],"items":[{},{"price":1}]}`,
	`{"numbers":[],"tags":[],"items":[]}`, `{"numbers":[null]}`, `{"items":[null]}`, `{"bools":[true,false],"blobs":["","AA=="]}`, `{"numbers":1}`,
	`{"labels":{"a":"b","":""}}`, `{"labels":{"a":"b","a":"c"}}`, `{"labels":{"a":null}}`, `{"labels":[]}`, `{"byId":{"1":{"name":"x"},"-2":{}}}`,
	`{"byId":{"x":{}}}`, `{"byBool":{"true":"RED","false":1}}`, `{"bySint":{"-1":1.5}}`, `{"byFixed":{"18446744073709551615":"AA=="}}`,
	`{"labels":{"j":"","i":"","h":"","g":"","f":"","e":"","d":"","c":"","b":"","a":"","j":""}}`,
	`{"time":"2026-01-02T03:04:05.678Z","wait":"-1.5s","mask":"aBool,item.name"}`, `{"time":"2026-02-30T00:00:00Z"}`, `{"time":"0000-01-01T00:00:00Z"}`,
	`{"time":"1970-01-01T00:00:00+01:30"}`, `{"time":"1969-12-31T23:59:59.000000001Z"}`, `{"wait":"1"}`, `{"wait":"315576000001s"}`, `{"wait":"0.5s"}`,
	`{"wait":"+.25s"}`, `{"wait":"01s"}`, `{"mask":""}`, `{"mask":"a_b"}`, `{"mask":"a,,b"}`, `{"mask":"aB.cD,e"}`,
	`{"object":{"a":[1,"x",null,{"b":true}]},"value":null,"list":[[],{},1e3]}`, `{"value":{"a":[]}}`, `{"values":[null,1,"x"]}`, `{"object":null}`,
	`{"any":{"@type":"type.googleapis.com/test.Item","name":"x"}}`, `{"any":{"name":"x","@type":"test.Item"}}`, `{"any":{"name":"x"}}`, `{"any":{}}`,
	`{"any":{"@type":"x/test.Nothing"}}`, `{"any":{"@type":"x/google.protobuf.Duration","value":"1s"}}`, `{"any":{"@type":"x/google.protobuf.Duration"}}`,
	`{"any":{"@type":"x/google.protobuf.Empty"}}`, `{"any":{"@type":"x/google.protobuf.Empty","value":{}}}`, `{"any":{"@type":"x/google.protobuf.Value","value":[1]}}`,
	`{"any":{"@type":"x/google.protobuf.Any","value":{"@type":"x/test.Item","price":1}}}`, `{"any":{"@type":"x/test.Item","@type":"x/test.Item"}}`,
	`{"empty":{},"nothing":null}`, `{"empty":{"a":1}}`, `{"nothing":"NULL_VALUE"}`,
	`{"boxedInt":"5","boxedText":"","boxedBool":false,"boxedBytes":"AA==","boxedDouble":"NaN"}`, `{"boxedInt":null}`,
	`{"times":["2026-01-02T03:04:05Z"],"texts":["a"],"waits":{"x":"1s"}}`, `{"far":9}`, `{"unknown":{"a":[1,{}]}}`, `{"unknown":tru}`,
	`{"a":1,}`, `{,}`, `{"aBool" true}`, `{"aBool":true}x`, `{"aBool":truex}`, `{aBool:true}`, `{"aBool":true`, `{"numbers":[1,]}`, `{"numbers":[1 2]}`, `{"aBool":nul}`,
	`{"numbers":[1}`, `{"items":[{"inner":{"price":"x"}}]}`, `{"[test.ext]":1}`,
}

func TestConversionsAgreeWithProtojson(t *testing.T) {
	for _, o := range []Options{{}, {DiscardUnknownFields: true}, {AlwaysPrintFields: true}} {
		s, d, types := everythingSchema(t, o)
		w := plainWay{d, types, o.DiscardUnknownFields, o.AlwaysPrintFields}
		for _, text := range samples {
			compareBothWays(t, s, w, []byte(text))
		}
	}
}

func TestDocumentsAreCutAtEachByte(t *testing.T) {
	s, d, types := everythingSchema(t, Options{})
	w := plainWay{d: d, types: types}
	for _, text := range samples {
		for i := range len(text) {
			compareBothWays(t, s, w, []byte(text[:i]))
		}
	}
}

func TestMessagesAreCutAtEachByte(t *testing.T) {
	s, d, types := everythingSchema(t, Options{})
	w := plainWay{d: d, types: types}
	for _, text := range samples {
		wire, err := w.wire([]byte(text))
		if err != nil {
			continue
		}
		for i := range wire {
			compareJSON(t, s, w, wire[:i])
		}
	}
}

// Fields out of order, twice, in parts, unpacked and with unknown ones between them: the last value counts, lists grow, messages
// merge. Two messages one behind the other are such a message.
func TestMessagesInAnyOrderAgreeWithProtojson(t *testing.T) {
	for _, o := range []Options{{}, {AlwaysPrintFields: true}} {
		s, d, types := everythingSchema(t, o)
		w := plainWay{d: d, types: types, always: o.AlwaysPrintFields}
		var wires [][]byte
		for _, text := range samples {
			if wire, err := w.wire([]byte(text)); err == nil {
				wires = append(wires, wire)
			}
		}
		rapid.Check(t, func(t *rapid.T) {
			var whole []byte
			for _, i := range rapid.SliceOfN(rapid.IntRange(0, len(wires)-1), 1, 6).Draw(t, "samples") {
				whole = append(whole, wires[i]...)
				if rapid.Bool().Draw(t, "unknown") {
					whole = append(whole, 0xf8, 0x7f, 0x05) // field 2047
				}
			}
			compareJSON(t, s, w, whole)
		})
	}
}

func TestIntegersAgreeWithProtojson(t *testing.T) {
	s, d, types := everythingSchema(t, Options{})
	w := plainWay{d: d, types: types}
	rapid.Check(t, func(t *rapid.T) {
		number := rapid.StringMatching(`-?(0|[1-9][0-9]{0,24})(\.[0-9]{1,22})?([eE][+-]?[0-9]{1,2})?`).Draw(t, "number")
		field := rapid.SampledFrom([]string{"anInt32", "aUint32", "anInt64", "aUint64", "aSint32", "aSint64", "aFixed32", "aSfixed64", "aFloat", "aDouble", "color"}).Draw(t, "field")
		compareBothWays(t, s, w, fmt.Appendf(nil, `{"%s":%s}`, field, number))
		compareBothWays(t, s, w, fmt.Appendf(nil, `{"%s":"%s"}`, field, number))
	})
}

func TestTimesAgreeWithProtojson(t *testing.T) {
	s, d, types := everythingSchema(t, Options{})
	w := plainWay{d: d, types: types}
	rapid.Check(t, func(t *rapid.T) {
		if rapid.Bool().Draw(t, "timestamp") {
			text := rapid.StringMatching(`[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-6][0-9]:[0-6][0-9](\.[0-9]{0,10})?(Z|[+-][0-2][0-9]:[0-6][0-9])`).Draw(t, "time")
			compareBothWays(t, s, w, fmt.Appendf(nil, `{"time":"%s"}`, text))
			return
		}
		text := rapid.StringMatching(`[+-]?[0-9]{0,12}(\.[0-9]{0,10})?s`).Draw(t, "wait")
		compareBothWays(t, s, w, fmt.Appendf(nil, `{"wait":"%s"}`, text))
	})
}
