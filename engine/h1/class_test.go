package h1

import (
	"testing"

	"pgregory.net/rapid"
)

// The scans that look at eight bytes at once find what looking at each byte finds.
func TestScansAgainstByteByByte(t *testing.T) {
	some := rapid.OneOf(rapid.Byte(), rapid.SampledFrom([]byte("\t\r\n\x00\x1f !\"#~\x7f\x80\xfe\xff\xffaaaaaaaa")))
	rapid.Check(t, func(t *rapid.T) {
		b := rapid.SliceOfN(some, 0, 40).Draw(t, "bytes")
		from := rapid.IntRange(0, len(b)).Draw(t, "from")
		value, target := from, from
		for value < len(b) && (b[value] >= ' ' && b[value] != 0x7f || b[value] == '\t') {
			value++
		}
		for target < len(b) && b[target] > ' ' && b[target] < 0x7f && b[target] != '#' {
			target++
		}
		if got := valueEnd(b, from); got != value {
			t.Fatalf("valueEnd(%q, %d) = %d, want %d", b, from, got, value)
		}
		if got := targetEnd(b, from); got != target {
			t.Fatalf("targetEnd(%q, %d) = %d, want %d", b, from, got, target)
		}
	})
}
