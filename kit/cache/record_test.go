package cache

import (
	"bytes"
	"math"
	"testing"
)

func TestRecordsGoThereAndBack(t *testing.T) {
	for _, want := range []record{
		{payload: []byte{}},
		{version: 1, payload: []byte(`{"name":"ann"}`)},
		{version: math.MaxUint64, payload: bytes.Repeat([]byte{0xff}, 70_000)},
		{absent: true, version: 7, payload: []byte{}},
	} {
		data := appendRecord(nil, want)
		got, err := parseRecord(data)
		if err != nil || got.absent != want.absent || got.version != want.version || !bytes.Equal(got.payload, want.payload) {
			t.Errorf("%+v became %+v, %v", want, got, err)
		}
	}
}

func TestARecordThatIsCutOrChangedIsGarbage(t *testing.T) {
	data := appendRecord(nil, record{version: 3, payload: []byte("value")})
	for i := range data {
		if _, err := parseRecord(data[:i]); err == nil {
			t.Errorf("cut at %d it is a record", i)
		}
		for bit := range 8 {
			changed := bytes.Clone(data)
			changed[i] ^= 1 << bit
			if r, err := parseRecord(changed); err == nil {
				t.Errorf("with bit %d of byte %d changed it is %+v", bit, i, r)
			}
		}
	}
}

func FuzzRecord(f *testing.F) {
	f.Add([]byte{})
	f.Add(appendRecord(nil, record{version: 3, payload: []byte(`"v"`)}))
	f.Add(appendRecord(nil, record{absent: true}))
	c, err := New(Config[string, map[string]int]{Name: "fuzz", Load: nothing[map[string]int]})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(c.Close)
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := parseRecord(data)
		if err == nil {
			if again := appendRecord(nil, r); !bytes.Equal(again, data) {
				t.Errorf("%x is read and written as %x", data, again)
			}
		}
		e, entryErr := c.entryOf(found{record: string(data)}, 1)
		if err != nil && entryErr == nil && len(data) > 0 {
			t.Errorf("garbage became %+v", e)
		}
	})
}
