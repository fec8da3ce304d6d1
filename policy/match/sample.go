package match

import (
	"regexp/syntax"
	"unicode/utf8"
)

// example is a set of values that meets everything a search assumed.
type example struct {
	values   []Value
	repeated bool
}

// example makes up values for what is known, or returns nil if it finds none. One value per name where that is enough.
func (s *search) example() *example {
	ex := &example{}
	for _, k := range s.known {
		if len(k.some) == 0 {
			continue // absence meets every demand in all
		}
		if v, ok := k.sample(k.some); ok {
			ex.values = append(ex.values, Value{k.place, k.name, v})
			continue
		}
		ex.repeated = true
		for i := range k.some {
			v, ok := k.sample(k.some[i : i+1])
			if !ok {
				return nil
			}
			ex.values = append(ex.values, Value{k.place, k.name, v})
		}
	}
	return ex
}

// sample returns a value that meets all of need and what every value has to meet.
func (k *knowledge) sample(need []demand) (string, bool) {
	for _, v := range candidates(need, k.all) {
		if meetsAll(v, need) && meetsAll(v, k.all) && sendable(v) {
			return v, true
		}
	}
	return "", false
}

func meetsAll(v string, ds []demand) bool {
	for _, d := range ds {
		if d.p.meets([]byte(v)) != d.want {
			return false
		}
	}
	return true
}

// candidates makes up values that have a chance: what the wanted comparisons name, alone and put together, and a few that
// say nothing.
func candidates(need, all []demand) []string {
	var prefix, middle, suffix string
	var out []string
	for _, ds := range [][]demand{need, all} {
		for _, d := range ds {
			if !d.want {
				continue
			}
			switch v := d.p.value; d.p.op {
			case Exact:
				out = append(out, v)
			case Prefix:
				if len(v) > len(prefix) {
					prefix = v
				}
			case Suffix:
				if len(v) > len(suffix) {
					suffix = v
				}
			case Contains:
				middle += v
			case Regex:
				out = append(out, regexSamples(v)...)
			}
		}
	}
	for _, filler := range []string{"", "1", "any", "other-value", "0-"} {
		out = append(out, prefix+middle+filler+suffix, prefix+filler+middle+suffix)
	}
	return out
}

// sendable reports whether v can be a field value (RFC 9110 section 5.5), so that the example can really be sent.
func sendable(v string) bool {
	for i := range len(v) {
		if c := v[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return len(trim([]byte(v))) == len(v)
}

// regexSamples returns a few strings that match expr, short ones first, or none if it is beyond this simple walk.
func regexSamples(expr string) (out []string) {
	re, err := syntax.Parse(expr, syntax.Perl)
	if err != nil {
		return nil
	}
	for _, times := range []int{0, 1, 2} {
		if v, ok := regexSample(nil, re, times); ok {
			out = append(out, string(v))
		}
	}
	return out
}

// regexSample appends a string that re matches in which what may be repeated or left out stands the given number of times.
func regexSample(dst []byte, re *syntax.Regexp, times int) ([]byte, bool) {
	repeat := func(atLeast, atMost int) ([]byte, bool) {
		n := max(times, atLeast)
		if atMost >= 0 {
			n = min(n, atMost)
		}
		ok := true
		for range n {
			if len(dst) > valueBytesMax {
				return dst, false
			}
			if dst, ok = regexSample(dst, re.Sub[0], times); !ok {
				return dst, false
			}
		}
		return dst, true
	}
	switch re.Op {
	case syntax.OpLiteral:
		for _, r := range re.Rune {
			dst = utf8.AppendRune(dst, r)
		}
		return dst, true
	case syntax.OpCharClass:
		r, ok := pleasantRune(re.Rune)
		return utf8.AppendRune(dst, r), ok
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		return append(dst, 'a'), true
	case syntax.OpConcat:
		for _, sub := range re.Sub {
			var ok bool
			if dst, ok = regexSample(dst, sub, times); !ok {
				return dst, false
			}
		}
		return dst, true
	case syntax.OpAlternate:
		return regexSample(dst, re.Sub[min(times, len(re.Sub)-1)], times)
	case syntax.OpCapture:
		return regexSample(dst, re.Sub[0], times)
	case syntax.OpStar:
		return repeat(0, -1)
	case syntax.OpPlus:
		return repeat(1, -1)
	case syntax.OpQuest:
		return repeat(0, 1)
	case syntax.OpRepeat:
		return repeat(re.Min, re.Max)
	}
	// Empty matches and anchors add nothing; whether they hold is seen when the sample is tried. OpNoMatch has none.
	return dst, re.Op != syntax.OpNoMatch
}

// pleasantRune picks from a class of ranges a letter or digit if there is one, else the first it has.
func pleasantRune(ranges []rune) (rune, bool) {
	for _, wanted := range "a1A-_" {
		for i := 0; i+1 < len(ranges); i += 2 {
			if ranges[i] <= wanted && wanted <= ranges[i+1] {
				return wanted, true
			}
		}
	}
	for i := 0; i+1 < len(ranges); i += 2 {
		if r := max(ranges[i], '!'); r <= ranges[i+1] {
			return r, true
		}
	}
	return 0, false
}
