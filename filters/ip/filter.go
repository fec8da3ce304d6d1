package ip

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/yumen-io/yumen/gateway"
	"github.com/yumen-io/yumen/policy/cidr"
)

// Spec is what a document says.
type Spec struct {
	Allow, Deny []netip.Prefix
	Files       []File
	// DenyOthers is for addresses that are in no list.
	DenyOthers bool
}

// File is a list of networks that is kept elsewhere.
type File struct {
	Path  string // for people
	Deny  bool   // or allow
	Table *atomic.Pointer[cidr.Table]
}

// Problem is what is wrong with a Spec.
type Problem struct {
	Field string
	Cause string
	Fix   string
}

// The words of refusals.
const (
	ReasonDenied     = "address_denied"
	ReasonNotAllowed = "address_not_allowed"
)

// Reasons are the words that the filter answers with.
func Reasons() []string { return []string{ReasonDenied, ReasonNotAllowed} }

// Filter is a compiled Spec. It is frozen, but for the tables of files, and shared by all loops.
type Filter struct {
	guard      *gateway.Guard
	own        *cidr.Table // of the document; values are made by entryOf
	files      []File      // values are lines
	denyOthers bool
	text       string
	scratch    gateway.PerLoop[scratch]
}

// scratch is a loop's, for the address in a judgement: as long as the longest IPv6 address, with "client=" before it.
type scratch [64]byte

// entryOf is the value of a network of the document: its number in its list, from 0, and which list that is.
func entryOf(i int, denies bool) uint32 {
	v := uint32(i) << 1
	if denies {
		v |= 1
	}
	return v
}

// Compile makes a filter of s, or says everything that is wrong with it.
func Compile(s Spec, guard *gateway.Guard) (*Filter, []Problem) {
	var problems []Problem
	if len(s.Allow)+len(s.Deny)+len(s.Files) == 0 {
		problems = append(problems, Problem{Cause: "the filter has no networks", Fix: "write ip: {allow: 10.0.0.0/8}"})
	}
	allowed := map[netip.Prefix]bool{}
	entries := make([]cidr.Entry, 0, len(s.Allow)+len(s.Deny))
	for i, p := range s.Allow {
		allowed[unmapped(p)] = true
		entries = append(entries, cidr.Entry{Prefix: p, Value: entryOf(i, false)})
	}
	for i, p := range s.Deny {
		if allowed[unmapped(p)] {
			problems = append(problems, Problem{fmt.Sprintf("deny[%d]", i), fmt.Sprintf("%s is both allowed and denied", p), "remove one of the two"})
		}
		entries = append(entries, cidr.Entry{Prefix: p, Value: entryOf(i, true)})
	}
	if problems != nil {
		return nil, problems
	}
	return &Filter{guard: guard, own: cidr.Compile(entries), files: s.Files, denyOthers: s.DenyOthers, text: describe(&s)}, nil
}

// unmapped is a network in the one spelling that the table has for it.
func unmapped(p netip.Prefix) netip.Prefix {
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		return netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96).Masked()
	}
	return p.Masked()
}

// Verdict is what the lists say of an address.
type Verdict struct {
	Refused bool
	Listed  bool  // a network has the address
	Bits    uint8 // the length of the longest
	At      Place // where that stands
}

// Place is where a network stands.
type Place struct {
	File  int    // counted from 1; 0: in the document
	Entry uint32 // of a file the line, of the document as entryOf has it
}

// Judge asks the lists. It allocates nothing. Of two networks of one length, in different lists, the one that denies decides.
func (f *Filter) Judge(a netip.Addr) Verdict {
	v := Verdict{Refused: f.denyOthers}
	take := func(n cidr.Found, denies bool, file int) {
		switch {
		case !n.OK, v.Listed && n.Bits < v.Bits, v.Listed && n.Bits == v.Bits && (v.Refused || !denies):
		default:
			v = Verdict{denies, true, n.Bits, Place{file, n.Value}}
		}
	}
	n := f.own.Lookup(a)
	take(n, n.Value&1 != 0, 0)
	for i := range f.files {
		take(f.files[i].Table.Load().Lookup(a), f.files[i].Deny, i+1)
	}
	return v
}

// Request is the hook.
func (f *Filter) Request(x *gateway.Exchange) gateway.Verdict {
	j := x.Judgement(f.guard)
	v := f.Judge(x.ClientAddr)
	j.Key = x.ClientAddr.AppendTo(append(f.scratch.On(x)[:0], "client="...))
	if v.Listed {
		j.Number("prefix", float64(v.Bits), "bits")
	}
	if v.Refused {
		j.Outcome, j.Status, j.Reason, j.Text = gateway.Refused, 403, ReasonNotAllowed, "Clients are let in from certain networks only."
		if v.Listed {
			j.Reason, j.Text = ReasonDenied, "Clients from this network are not let in."
		}
		f.tell(j, x.ClientAddr, v)
	}
	return x.Judge(j)
}

// tell says what refused a client: the network, the list it stands in, and where there; or how many networks it is not in.
func (f *Filter) tell(j *gateway.Judgement, a netip.Addr, v Verdict) {
	if !v.Listed {
		n := f.own.Len()
		for i := range f.files {
			n += f.files[i].Table.Load().Len()
		}
		j.Number("networks", float64(n), "")
		j.Word("others", []byte("deny"))
		return
	}
	var space [128]byte // more than a record keeps of a word
	if p, err := a.Unmap().WithZone("").Prefix(int(v.Bits)); err == nil {
		j.Word("network", p.AppendTo(space[:0]))
	}
	if v.At.File > 0 {
		file := &f.files[v.At.File-1]
		j.Number("line", float64(v.At.Entry), "")
		j.Word("list", append(space[:0], file.Path[:min(len(file.Path), len(space))]...))
		return
	}
	b := append(space[:0], word(v.At.Entry&1 != 0)...)
	b = strconv.AppendUint(append(b, '['), uint64(v.At.Entry>>1), 10)
	j.Word("list", append(b, ']'))
}

// Hooks are what the gateway calls.
func (f *Filter) Hooks() gateway.Hooks { return gateway.Hooks{Name: "ip", Request: f.Request} }

// String says what the filter does, with the networks that there are at the moment.
func (f *Filter) String() string {
	var b strings.Builder
	b.WriteString(f.text)
	for i := range f.files {
		fmt.Fprintf(&b, ", %s those of %s (%s)", word(f.files[i].Deny), f.files[i].Path, networks(f.files[i].Table.Load().Len()))
	}
	fmt.Fprintf(&b, ", %s others", word(f.denyOthers))
	return b.String()
}

func describe(s *Spec) string {
	return fmt.Sprintf("by the client's address: allow %s, deny %s", networks(len(s.Allow)), networks(len(s.Deny)))
}

func word(denies bool) string {
	if denies {
		return "deny"
	}
	return "allow"
}

func networks(n int) string {
	if n == 1 {
		return "1 network"
	}
	return fmt.Sprintf("%d networks", n)
}
