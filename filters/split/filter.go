package split

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/yumen-io/yumen/engine/message"
	"github.com/yumen-io/yumen/gateway"
	"github.com/yumen-io/yumen/policy/route"
	core "github.com/yumen-io/yumen/policy/split"
)

// Spec is what a document says.
type Spec struct {
	Variants []Variant
	Rules    []Rule
	// Key is who keeps a variant. Of requests without all of its parts it is the cookie, or, without a Cookie, the client's address.
	Key    gateway.KeyParts
	Cookie *Cookie // nil: none
	Salt   string  // empty: the split's name
	Header string  // that tells the upstream the variant; empty: none does
	Canary *Canary // nil: the weights stay until somebody changes them
}

// Variant is one of those that requests are divided among.
type Variant struct {
	Name    string
	Cluster gateway.ClusterRef
	Weight  float64 // share from 0 to 1; core.Unsaid: an equal part of what the others leave
}

// Cookie is how clients without a key are known again.
type Cookie struct {
	Name   string
	MaxAge time.Duration // zero: until the browser is closed
}

// Problem is what is wrong with a Spec.
type Problem struct {
	Field string
	Cause string
	Fix   string
}

// RulesMax bounds the rules: each is asked for each request, until one fits.
const RulesMax = 32

// Filter is a compiled Spec. It is frozen, but for the setting it goes by, and shared by all loops.
type Filter struct {
	state    *State
	number   uint64 // newer filters of the State have higher ones
	variants []variant
	usual    []float64 // the document's weights
	base     string    // variants and weights as text: who has the same keeps weights that were set
	table    *core.Table
	salt     string
	rules    []rule
	key      gateway.KeyParts
	cookie   *Cookie
	asked    gateway.Key // the cookie, as a part of a key
	header   []byte
	canary   *canary // nil: none
	text     string

	now   atomic.Pointer[setting]
	loops gateway.PerLoop[side]
}

type variant struct {
	name    string
	cluster gateway.ClusterRef
	counts  *counts
	judged  *counts // nil: there is no canary to judge
}

// Compile makes a filter of s, or says everything that is wrong with it. name is the split's: what its weights and counts are remembered by.
func Compile(s Spec, name string, memory *gateway.Recollection) (*Filter, []Problem) {
	f := &Filter{salt: s.Salt, cookie: s.Cookie, key: s.Key, header: []byte(s.Header)}
	if f.salt == "" {
		f.salt = name
	}
	problems := f.compileVariants(s.Variants)
	problems = append(problems, f.compileRules(s.Rules)...)
	if problems == nil {
		problems = f.compileCanary(s.Canary)
	}
	if problems != nil {
		return nil, problems
	}
	f.state = gateway.Recall(memory, "split/"+name, func() *State { return &State{name: name} })
	f.number = f.state.compiled.Add(1)
	for i := range f.variants {
		// The variant's name, which has no slash, comes first: no two pairs of names give one key.
		f.variants[i].counts = gateway.Recall(memory, "split_variant/"+f.variants[i].name+"/"+name, func() *counts { return new(counts) })
		if f.canary != nil {
			f.variants[i].judged = judged(memory, name, f.variants[i].name)
		}
	}
	if len(f.key) == 0 && f.cookie == nil {
		f.key = address
	}
	if f.cookie != nil {
		f.asked = gateway.Key{By: gateway.ByCookie, Name: f.cookie.Name}
	}
	f.now.Store(&setting{weights: f.usual, table: f.table})
	f.text = f.describe()
	return f, nil
}

// address is who asks, of requests that do not say.
var address = gateway.KeyParts{{By: gateway.ByClientAddress}}

func (f *Filter) compileVariants(said []Variant) []Problem {
	var problems []Problem
	if len(said) < 2 || len(said) > core.VariantsMax {
		return []Problem{{"variants", fmt.Sprintf("there are %d variants, and 2 to %d can be", len(said), core.VariantsMax),
			"write variants: [{name: stable, cluster: app}, {name: canary, cluster: app-next, weight: 5%}]"}}
	}
	weights := make([]float64, len(said))
	var base strings.Builder
	for i, v := range said {
		field := "variants[" + strconv.Itoa(i) + "]"
		if f.place(v.Name) >= 0 {
			problems = append(problems, Problem{field, fmt.Sprintf("there are two variants %q", v.Name), "give each a name of its own"})
		}
		if v.Weight != core.Unsaid && !core.IsStep(v.Weight) {
			problems = append(problems, Problem{field + ".weight", "a weight goes from 0% to 100% in steps of 0.01%", ""})
		}
		weights[i] = v.Weight
		f.variants = append(f.variants, variant{name: v.Name, cluster: v.Cluster})
	}
	if problems != nil {
		return problems
	}
	var err error
	if f.usual, err = core.Set(weights, nil, nil); err != nil {
		return []Problem{{"variants", err.Error(), "let them sum up to 100%, or leave one out: it gets the rest"}}
	}
	for i := range f.variants {
		fmt.Fprintf(&base, "%s=%v,", f.variants[i].name, f.usual[i])
	}
	f.base = base.String()
	f.table = f.tableOf(f.usual)
	return nil
}

// tableOf makes the table of weights that have been found to be good.
func (f *Filter) tableOf(weights []float64) *core.Table {
	list := make([]core.Variant, len(f.variants))
	for i := range list {
		list[i] = core.Variant{Name: f.variants[i].name, Weight: weights[i]}
	}
	t, err := core.New(f.salt, list)
	if err != nil {
		panic("split: " + err.Error())
	}
	return t
}

// place returns the number of a variant, -1 if there is none of that name.
func (f *Filter) place(name string) int {
	return slices.IndexFunc(f.variants, func(v variant) bool { return v.name == name })
}

// side is a loop's.
type side struct {
	key    []byte
	asking asking
	free   []*visit
}

// visit is what is kept of a request until it ends.
type visit struct {
	variant int
	ruled   bool   // a rule chose it
	id      uint64 // of a cookie that the answer is to set; 0: none
}

// keyKept is how much memory for a key a loop keeps: a client may have sent a head full of it.
const keyKept = 4 << 10

// Request is the hook.
func (f *Filter) Request(x *gateway.Exchange) gateway.Verdict {
	f.state.follow(f)
	s := f.loops.On(x)
	v := s.visit()
	if v.variant = f.byRules(&s.asking, x.Request, x.ClientAddr, x); v.variant < 0 {
		v.variant = f.byKey(x, s, v)
	} else {
		v.ruled = true
	}
	x.Keep(v)
	chosen := &f.variants[v.variant]
	if len(f.header) > 0 {
		x.Request.RemoveField(f.header)
		x.Request.AddString(string(f.header), chosen.name)
	}
	x.UseCluster(chosen.cluster)
	return gateway.GoOn
}

// byKey returns the variant of who asks: by the key, else by the cookie, which the client may have to be given.
func (f *Filter) byKey(x *gateway.Exchange, s *side, v *visit) int {
	now := f.current()
	key, complete := s.key[:0], false
	if len(f.key) > 0 {
		key, complete = f.key.Append(key, x)
	}
	if !complete {
		key = key[:0]
		switch {
		case f.cookie == nil:
			key, _ = address.Append(key, x)
		default:
			id, ok := cookieID(f.asked.Value(x.Request, &x.Params))
			if !ok {
				id = max(x.Random(), 1)
				v.id = id
			}
			key = appendID(key, id)
		}
	}
	if s.key = key; cap(key) > keyKept {
		s.key = nil
	}
	return now.table.Pick(key)
}

// Response is the hook: it gives the client its cookie.
func (f *Filter) Response(x *gateway.Exchange, h *message.Head) {
	v, ok := x.Kept().(*visit)
	if !ok || v.id == 0 {
		return
	}
	s := f.loops.On(x)
	s.key = f.cookie.append(s.key[:0], v.id, string(x.Render(scheme)) == "https")
	h.Add(setCookie, s.key)
}

var (
	setCookie = []byte("Set-Cookie")
	scheme    = gateway.Template{{Of: gateway.OfScheme}}
)

// Done is the hook.
func (f *Filter) Done(x *gateway.Exchange) {
	v, ok := x.Kept().(*visit)
	if !ok {
		return
	}
	o := x.Outcome()
	chosen := &f.variants[v.variant]
	chosen.counts.add(x.LoopIndex(), &o)
	if chosen.judged != nil && !v.ruled {
		chosen.judged.addJudged(x.LoopIndex(), &o)
	}
	s := f.loops.On(x)
	*v = visit{}
	s.free = append(s.free, v)
}

func (s *side) visit() *visit {
	if n := len(s.free); n > 0 {
		v := s.free[n-1]
		s.free = s.free[:n-1]
		return v
	}
	return new(visit)
}

// cookieID reads the value of a cookie: sixteen hexadecimal digits, and not zero. Another value is none of ours.
func cookieID(b []byte, there bool) (id uint64, ok bool) {
	if !there || len(b) != 16 {
		return 0, false
	}
	for _, c := range b {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		default:
			return 0, false
		}
		id = id<<4 | uint64(c)
	}
	return id, id != 0
}

func appendID(b []byte, id uint64) []byte {
	for shift := 60; shift >= 0; shift -= 4 {
		b = append(b, "0123456789abcdef"[id>>shift&15])
	}
	return b
}

// append writes the field that sets the cookie. It says nothing about the client but a number drawn for it, so that scripts have no use for it, and pages
// of other sites that lead here take it along.
func (c *Cookie) append(b []byte, id uint64, secure bool) []byte {
	b = append(b, c.Name...)
	b = append(b, '=')
	b = appendID(b, id)
	b = append(b, "; Path=/"...)
	if c.MaxAge > 0 {
		b = append(b, "; Max-Age="...)
		b = strconv.AppendInt(b, int64(c.MaxAge/time.Second), 10)
	}
	b = append(b, "; HttpOnly; SameSite=Lax"...)
	if secure {
		b = append(b, "; Secure"...)
	}
	return b
}

// Hooks are what the gateway calls.
func (f *Filter) Hooks() gateway.Hooks {
	h := gateway.Hooks{Name: "split", Request: f.Request, Done: f.Done}
	if f.cookie != nil {
		h.Response = f.Response
	}
	return h
}

// Name is what the split is called.
func (f *Filter) Name() string { return f.state.name }

// State is what outlives the filter.
func (f *Filter) State() *State { return f.state }

// Variants are the names, in the order of the document.
func (f *Filter) Variants() []string {
	list := make([]string, len(f.variants))
	for i := range f.variants {
		list[i] = f.variants[i].name
	}
	return list
}

// Cluster returns where a variant's requests go.
func (f *Filter) Cluster(variant string) (gateway.ClusterRef, bool) {
	if i := f.place(variant); i >= 0 {
		return f.variants[i].cluster, true
	}
	return gateway.ClusterRef{}, false
}

// Usual returns the weights of the document.
func (f *Filter) Usual() []float64 { return slices.Clone(f.usual) }

// Totals returns what became of a variant's requests; false if there is none of that name.
func (f *Filter) Totals(variant string) (Totals, bool) {
	i := f.place(variant)
	if i < 0 {
		return Totals{}, false
	}
	return f.variants[i].counts.totals(), true
}

// Each calls yield with each variant, and with each class of status and how many of its requests ended so.
func (f *Filter) Each(yield func(variant, status string, n uint64)) {
	for i := range f.variants {
		f.variants[i].counts.statuses(func(status string, n uint64) { yield(f.variants[i].name, status, n) })
	}
}

// Choice is which variant a request would get.
type Choice struct {
	Variant string // empty: what is known of the request does not tell
	Cluster gateway.ClusterRef
	Why     string
}

// Choose tells, for those who ask what would happen. There are no claims then, and a client without the cookie would be given one by chance.
func (f *Filter) Choose(h *message.Head, p *route.Params, client netip.Addr) Choice {
	found := func(i int, why string) Choice { return Choice{f.variants[i].name, f.variants[i].cluster, why} }
	a := new(asking)
	for i := range f.rules {
		r := &f.rules[i]
		switch {
		case !r.fitsBut(a, h, client):
		case len(r.claims) > 0:
			return Choice{Why: fmt.Sprintf("rule %d asks for claims, which nobody has verified yet", i+1)}
		default:
			return found(r.variant, fmt.Sprintf("by rule %d", i+1))
		}
	}
	now := f.current()
	if i := slices.Index(now.weights, 1); i >= 0 {
		return found(i, "which has all")
	}
	key, complete, told := keyBefore(f.key, h, p, client)
	switch {
	case !told:
		return Choice{Why: "its key is not known before"}
	case len(f.key) > 0 && complete:
		return found(now.table.Pick(key), "by "+string(key))
	case f.cookie == nil:
		key, _, _ = keyBefore(address, h, p, client)
		return found(now.table.Pick(key), "by "+string(key))
	}
	if id, ok := cookieID(f.asked.Value(h, p)); ok {
		return found(now.table.Pick(appendID(nil, id)), "by the cookie "+f.cookie.Name)
	}
	return Choice{Why: "the client has no cookie " + f.cookie.Name + " yet: chance decides, and the cookie it is given holds to that"}
}

// String says what the filter does, with the weights that are in force.
func (f *Filter) String() string {
	now := f.Weights()
	var list []string
	for i := range f.variants {
		v := &f.variants[i]
		list = append(list, fmt.Sprintf("%s to %s (%s)", Percent(now.Weights[i]), v.name, v.cluster.Name))
	}
	text := strings.Join(list, ", ") + f.text
	if now.By != "" {
		text += ", as " + now.By + " set it"
	}
	return text
}

// Percent writes a share as people do, to 0.01 %.
func Percent(share float64) string {
	return strconv.FormatFloat(math.Round(share*core.StepsOfOne)/100, 'f', -1, 64) + "%"
}

func (f *Filter) describe() string {
	var b strings.Builder
	b.WriteString(" by ")
	for i := range f.key {
		if i > 0 {
			b.WriteString(" and ")
		}
		b.WriteString(keyText(f.key[i]))
	}
	if f.cookie != nil {
		if len(f.key) > 0 {
			b.WriteString(", else by ")
		}
		b.WriteString("cookie " + f.cookie.Name)
	}
	for i := range f.rules {
		fmt.Fprintf(&b, "; %s: %s", f.rules[i].text, f.variants[f.rules[i].variant].name)
	}
	if f.canary != nil {
		b.WriteString("; " + f.canary.String())
	}
	return b.String()
}
