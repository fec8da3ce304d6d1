package balance

import (
	"math"
	"math/bits"
	"slices"
	"time"

	"github.com/yumen-io/yumen/internal/mono"
	"github.com/yumen-io/yumen/policy/loadaware"
)

// Config is how a set chooses. The zero value is round robin without slow start.
type Config struct {
	Algorithm Algorithm

	// SlowStart is how long an endpoint takes from a tenth of its weight to all of it; 0 is none.
	SlowStart time.Duration

	// PanicThreshold is the healthy share of a tier, by weight, below which the tier is given up or serves in panic.
	// Above 0 and at most 1; 0 means 0.5; below 0 there is no panic.
	PanicThreshold float64

	// LatencyMemory is the time constant of an endpoint's latency average; 0 means 10 s.
	LatencyMemory time.Duration

	// Load is how LoadAware weighs; zero values mean its defaults. SlowStart and PanicThreshold in it have no influence: those
	// of this Config hold.
	Load loadaware.Settings

	// Seed makes the loops of one process take their turns out of step. 0 is in step, for tests. It has no influence on
	// Maglev, whose answer must be the same on every loop and in every process.
	Seed uint64

	// Table is the Maglev table of exactly the endpoints given to New, built ahead (it takes milliseconds) and shared by
	// all loops. If it is nil and the algorithm is Maglev, New builds one of TableSizeDefault. With Maglev a set has at most
	// 65535 endpoints, as NewTable reports.
	Table *Table
}

// Endpoint is one upstream address as configured or discovered.
type Endpoint struct {
	Identity string // the address; unique within the set
	Weight   uint32 // 1 to 1000; 0 means 1
	Priority uint8  // the tier: 0 serves first, higher ones stand by
}

// weight is the weight that counts: within its limits.
func (e *Endpoint) weight() uint32 { return min(max(e.Weight, 1), weightMax) }

// Health says whether an endpoint may be chosen, and if not, on whose word.
type Health uint8

const (
	Healthy Health = iota
	Ejected        // by passive judgement of live outcomes
	Failing        // by active checks
	Drained        // by an operator; panic respects it
)

func (h Health) String() string {
	switch h {
	case Healthy:
		return "healthy"
	case Ejected:
		return "ejected"
	case Failing:
		return "failing"
	default:
		return "drained"
	}
}

// Reason explains a choice, or why there is none. Its words are those of the metric, the log and the response field.
type Reason uint8

const (
	Normal      Reason = iota // a healthy endpoint of the first tier
	Backup                    // an endpoint of a later tier, the ones before being too ill
	Panic                     // too few are healthy everywhere: health was ignored within the tier
	NoEndpoints               // the set is empty
	AllDrained                // every endpoint was drained
	NoHealthy                 // every endpoint is failing its checks (or is drained); with panic off, or ejected
)

func (r Reason) String() string {
	switch r {
	case Normal:
		return "normal"
	case Backup:
		return "backup"
	case Panic:
		return "panic"
	case NoEndpoints:
		return "no_endpoints"
	case AllDrained:
		return "all_drained"
	default:
		return "no_healthy_upstream"
	}
}

// Result is how a request ended, as far as it tells something about the endpoint.
type Result uint8

const (
	Succeeded Result = iota
	Failed           // the endpoint's fault; it must not look fast for it
	Abandoned        // ended for reasons that are not the endpoint's, the client's going for example: teaches nothing
)

const (
	weightMax            = 1000
	latencyMemoryDefault = 10 * time.Second
	panicDefault         = 0.5
	rampFloor            = 0.1 // the share of its weight an endpoint starts with
	rampDraws            = 8   // refusals by warming endpoints before one is taken anyway
)

// Set is what one loop knows of a cluster's endpoints. Loop-owned: not safe for concurrent use. Endpoints are named by
// their index in the list given to New.
type Set struct {
	// Frozen by New.
	algorithm     Algorithm
	slowStart     time.Duration
	panicBelow    float64 // below 0: no panic
	latencyMemory float64 // nanoseconds
	seed          uint64
	table         *Table
	endpoints     []Endpoint
	tierOf        []int // by endpoint: its index in tiers

	// What was learnt, by endpoint. A state is shared with the set that this one replaced, whose requests still end.
	states []*state

	// Learnt of the set as a whole.
	typical   float64   // nanoseconds, the latency of an unmeasured endpoint
	turn      uint64    // the virtual time of the turns (see weighted.go)
	last      int       // the endpoint that round robin chose last
	warmUntil mono.Time // no endpoint is warming from here on

	// The pool, rebuilt by the first Pick after a change of health.
	stale      bool
	reason     Reason
	tier       int     // the serving tier
	tiers      []tier  // by ascending priority
	member     []bool  // by endpoint: in the pool
	pool       []int32 // endpoints, ascending
	sums       []uint64
	equal      bool     // all weights in the pool are the same
	meanWeight float64  // in the pool
	turns      turns    // the pool in order of turn, for the algorithms that take turns by weight
	weigher    *weigher // of LoadAware; nil for the others
}

type tier struct {
	priority                uint8
	total, healthy, ejected uint64 // weights; total leaves out what is drained
}

// state is what is known of one endpoint. It outlives the set that made it: see Inherit.
type state struct {
	home *Set // the newest set with this endpoint: its order depends on inFlight
	at   int  // the endpoint's index there

	health    Health
	inFlight  int
	answered  int       // of these: the head of the answer came, and its body has not ended
	warmUntil mono.Time // the end of slow start; in the past if it is over
	turn      uint64    // when it is next due, in virtual time

	latency   float64   // peak EWMA in nanoseconds; 0 while nothing was measured
	failures  float64   // the recent share of failed requests, 0 to 1
	learnedAt mono.Time // when the two were last fed

	aware *aware // since a load-aware set has had the endpoint
}

// New returns a set in which every endpoint is healthy, idle and at full weight. It keeps no reference to the list.
func New(cfg Config, endpoints []Endpoint, now mono.Time) *Set {
	n := len(endpoints)
	s := &Set{
		algorithm:     cfg.Algorithm,
		slowStart:     cfg.SlowStart,
		panicBelow:    min(cfg.PanicThreshold, 1),
		latencyMemory: float64(cfg.LatencyMemory),
		seed:          cfg.Seed,
		table:         cfg.Table,
		endpoints:     slices.Clone(endpoints),
		tierOf:        make([]int, n),
		states:        make([]*state, n),
		stale:         true,
		member:        make([]bool, n),
		pool:          make([]int32, 0, n),
		sums:          make([]uint64, 0, n),
		last:          -1,
	}
	if cfg.PanicThreshold == 0 {
		s.panicBelow = panicDefault
	}
	if cfg.LatencyMemory <= 0 {
		s.latencyMemory = float64(latencyMemoryDefault)
	}
	uneven := false
	for i := range s.endpoints {
		e := &s.endpoints[i]
		e.Weight = e.weight()
		uneven = uneven || e.Weight != s.endpoints[0].Weight
		// One allocation each, not a slab: Inherit hands states on one by one, and the last survivor of a slab would
		// hold all of it through years of endpoints coming and going.
		s.states[i] = &state{home: s, at: i, learnedAt: now}
	}
	if s.algorithm == LoadAware {
		s.weigher = newWeigher(&cfg, n)
		for _, st := range s.states {
			st.beAware(1)
		}
	}
	if s.algorithm == RoundRobin && uneven {
		s.algorithm = Weighted
	}
	for _, e := range s.endpoints {
		if !slices.ContainsFunc(s.tiers, func(t tier) bool { return t.priority == e.Priority }) {
			s.tiers = append(s.tiers, tier{priority: e.Priority})
		}
	}
	slices.SortFunc(s.tiers, func(a, b tier) int { return int(a.priority) - int(b.priority) })
	for i, e := range s.endpoints {
		s.tierOf[i] = slices.IndexFunc(s.tiers, func(t tier) bool { return t.priority == e.Priority })
	}
	if n > 0 && s.seed != 0 {
		s.last = int(below(mix(s.seed), uint64(n)))
	}
	if s.algorithm == Maglev {
		if s.table == nil {
			s.table = newTable(s.endpoints, TableSizeDefault)
		}
		if len(s.table.ids) != n {
			panic("balance: the Maglev table is of other endpoints")
		}
	}
	if s.algorithm.takesTurns() {
		s.turns.init(n)
	}
	return s
}

// Inherit makes s the successor of old: endpoints with the same identity keep their health, requests in flight, latency
// and place in slow start, and what old is still told of them (Done) reaches s. Endpoints that old did not know begin
// their slow start, unless old had none at all. Call it once, before the first Pick, on the loop of both; old must not
// be picked from again, but the requests it was given end there, by their old index.
func (s *Set) Inherit(old *Set, now mono.Time) {
	known := make(map[string]*state, len(old.states))
	for i, st := range old.states {
		known[old.endpoints[i].Identity] = st
	}
	s.turn, s.typical = old.turn, old.typical
	for i, e := range s.endpoints {
		st := known[e.Identity]
		switch {
		case st != nil:
			delete(known, e.Identity)       // should the list name it twice, the second is a stranger
			s.member[i] = old.member[st.at] // it keeps its turn
			st.home, st.at = s, i
			s.states[i] = st
		case len(old.states) > 0:
			s.states[i].warmUntil = now.Add(s.slowStart)
			s.states[i].aware = nil // and is made anew, cold
		}
		if s.algorithm == LoadAware {
			s.states[i].beAware(0)
		}
		s.warmUntil = max(s.warmUntil, s.states[i].warmUntil)
	}
	if old.last >= 0 && old.states[old.last].home == s {
		s.last = old.states[old.last].at
	}
	s.stale = true
}

// Identity returns the identity of endpoint i, for Tried.
func (s *Set) Identity(i int) string { return s.endpoints[i].Identity }

// Pick chooses the endpoint for a request, or returns -1; the reason says why it is this one or none. rnd is 64 fresh
// random bits. key is the request's HashKey, used by Maglev alone. tried holds the endpoints of earlier attempts and may
// be nil. A choice takes the endpoint's turn but not yet counts as load: see Start. Pick does not allocate; after a change of
// health it rebuilds the pool in time proportional to the number of endpoints, otherwise it is the algorithm's.
func (s *Set) Pick(now mono.Time, rnd, key uint64, tried *Tried) (index int, why Reason) {
	if s.stale {
		s.rebuild(now)
	}
	if len(s.pool) == 0 {
		return -1, s.reason
	}
	if s.weigher != nil {
		s.weigh(now)
	}
	if tried != nil && tried.n > 0 {
		return s.pickAgain(now, rnd, key, tried)
	}
	return s.choose(now, rnd, key), s.reason
}

func (s *Set) choose(now mono.Time, rnd, key uint64) int {
	switch s.algorithm {
	case Weighted, LeastRequest:
		return s.takeTurn(now)
	case Random:
		return s.random(now, rnd)
	case TwoChoices:
		return s.twoChoices(now, rnd)
	case Maglev:
		return s.hashed(now, key, nil)
	case LoadAware:
		return s.loadAware(rnd)
	default:
		return s.roundRobin(now, rnd)
	}
}

// pickAgain is Pick for a second and later attempt, by the order in the package's doc. Maglev goes on along the key's probe
// sequence; with the others it is the least loaded candidate whatever the algorithm: one scan, paid by retries only.
func (s *Set) pickAgain(now mono.Time, rnd, key uint64, tried *Tried) (int, Reason) {
	if s.algorithm == Maglev {
		if i := s.hashed(now, key, tried); i >= 0 {
			return i, s.reason
		}
	}
	const none = math.MaxInt
	best, bestRank, bestLoad := -1, none, 0.0
	n := len(s.endpoints)
	first := int(below(rnd, uint64(n)))
	for k := range n {
		i := first + k
		if i >= n {
			i -= n
		}
		rank := none
		switch {
		case tried.has(s.endpoints[i].Identity):
		case s.states[i].health == Healthy && s.tierOf[i] == s.tier:
			rank = 0
		case s.states[i].health == Healthy:
			rank = 1 + s.tierOf[i]
		case s.member[i]:
			rank = none - 1
		}
		if rank > bestRank || rank == none {
			continue
		}
		if load := s.load(i, now); rank < bestRank || load < bestLoad {
			best, bestRank, bestLoad = i, rank, load
		}
	}
	if best < 0 {
		return s.choose(now, rnd, key), s.reason
	}
	switch {
	case s.tierOf[best] == s.tier:
		return best, s.reason
	case s.tierOf[best] > 0:
		return best, Backup
	default:
		return best, Normal // the first tier was given up, but has survivors
	}
}

// load compares endpoints across algorithms: what two choices compares, and without latency the others.
func (s *Set) load(i int, now mono.Time) float64 {
	switch s.algorithm {
	case TwoChoices:
		return s.cost(i, now)
	case LoadAware:
		return s.awareCost(i)
	}
	return float64(s.states[i].inFlight+1) / s.effective(i, now)
}

// Start says that a request was given to i. Every Start is followed by one Done of the same index on the same set.
func (s *Set) Start(i int, now mono.Time) {
	st := s.states[i]
	st.inFlight++
	if st.aware != nil {
		st.waits(now)
	}
	st.home.loadChanged(st.at, now)
}

// Answered says that the head of the answer to a request given to i came: its body may take long and says nothing of the
// endpoint. It may be left out. If it is not, Ended follows it, just before Done.
func (s *Set) Answered(i int, now mono.Time) {
	st := s.states[i]
	st.answered++
	if st.aware != nil {
		st.aware.progressAt = now
	}
}

// Ended undoes Answered.
func (s *Set) Ended(i int) { s.states[i].answered-- }

// Done says that a request given to i ended: after latency (of the response's head, counted from Start) if it succeeded
// or failed. A set that was succeeded by another (Inherit) is told all the same and passes it on.
func (s *Set) Done(i int, now mono.Time, latency time.Duration, result Result) {
	st := s.states[i]
	if st.inFlight == 0 {
		panic("balance: Done without a Start")
	}
	st.inFlight--
	switch {
	case result == Abandoned:
	case st.home.weigher != nil:
		st.aware.learn(now, latency, result == Succeeded)
	default:
		st.home.learn(st, now, latency, result == Succeeded)
	}
	st.home.loadChanged(st.at, now)
}

// SetHealth says whether i may be chosen. Becoming Healthy begins its slow start.
func (s *Set) SetHealth(i int, h Health, now mono.Time) {
	st := s.states[i]
	if st.health == h {
		return
	}
	if h == Healthy {
		st.warmUntil = now.Add(st.home.slowStart)
		st.home.warmUntil = max(st.home.warmUntil, st.warmUntil)
	}
	st.health = h
	st.home.stale = true
}

// EndpointView is an endpoint as an operator sees it.
type EndpointView struct {
	Identity  string
	Priority  uint8
	Weight    uint32        // configured
	Effective float64       // what slow start leaves of it
	InFlight  int           // requests of this loop
	Latency   time.Duration // peak EWMA of this loop; 0 while unmeasured
	Failures  float64       // recent share of failed requests, 0 to 1
	Health    Health
	InPool    bool   // may be chosen by a first attempt
	Why       Reason // the reason a choice of the set has now
	// Factors are what LoadAware goes by; nil for the others, and for it before anybody may be chosen.
	Factors *Factors
}

// View describes endpoint i.
func (s *Set) View(i int, now mono.Time) EndpointView {
	if s.stale {
		s.rebuild(now)
	}
	e, st := &s.endpoints[i], s.states[i]
	v := EndpointView{
		Identity: e.Identity, Priority: e.Priority, Weight: e.Weight,
		Effective: s.effective(i, now),
		InFlight:  st.inFlight,
		Latency:   time.Duration(st.latency),
		Failures:  st.failures * s.fade(st, now),
		Health:    st.health,
		InPool:    s.member[i],
		Why:       s.reason,
	}
	if s.weigher != nil {
		s.viewAware(i, now, &v)
	}
	return v
}

// rebuild gathers the pool anew. It allocates nothing: the arrays have room for all endpoints.
func (s *Set) rebuild(now mono.Time) {
	s.stale = false
	if s.weigher != nil {
		s.weigher.due = true
	}
	s.weighTiers()
	s.tier, s.reason = s.servingTier()
	s.pool, s.sums, s.equal = s.pool[:0], s.sums[:0], true
	var total uint64
	for i := range s.endpoints {
		h := s.states[i].health
		in := s.tierOf[i] == s.tier && (h == Healthy || s.reason == Panic && h != Drained)
		if in && !s.member[i] {
			s.dealTurn(i, now)
		}
		s.member[i] = in
		if !in {
			continue
		}
		s.pool = append(s.pool, int32(i))
		total += uint64(s.endpoints[i].Weight)
		s.sums = append(s.sums, total)
		s.equal = s.equal && s.endpoints[i].Weight == s.endpoints[s.pool[0]].Weight
	}
	s.meanWeight = float64(total) / float64(max(len(s.pool), 1))
	if s.algorithm.takesTurns() {
		s.fillTurns(now)
	}
}

func (s *Set) weighTiers() {
	for t := range s.tiers {
		s.tiers[t] = tier{priority: s.tiers[t].priority}
	}
	for i, e := range s.endpoints {
		t, w := &s.tiers[s.tierOf[i]], uint64(e.Weight)
		switch s.states[i].health {
		case Healthy:
			t.healthy += w
			t.total += w
		case Ejected:
			t.ejected += w
			t.total += w
		case Failing:
			t.total += w
		}
	}
}

// servingTier applies the rules of the package's doc. -1 is none.
func (s *Set) servingTier() (int, Reason) {
	healthy, ejected, total := -1, -1, uint64(0) // healthy, ejected: the first tier that has any
	for k, t := range s.tiers {
		total += t.total
		if t.healthy > 0 && healthy < 0 {
			healthy = k
		}
		if t.ejected > 0 && ejected < 0 {
			ejected = k
		}
		if t.healthy > 0 && float64(t.healthy) >= s.panicBelow*float64(t.total) {
			if k > 0 {
				return k, Backup
			}
			return k, Normal
		}
	}
	switch {
	case healthy >= 0: // and panic is on: without, its tier would serve
		return healthy, Panic
	case ejected >= 0 && s.panicBelow >= 0:
		return ejected, Panic
	case len(s.endpoints) == 0:
		return -1, NoEndpoints
	case total == 0:
		return -1, AllDrained
	default:
		return -1, NoHealthy
	}
}

// ramp is the share of its weight that slow start leaves endpoint i: rampFloor to 1.
func (s *Set) ramp(i int, now mono.Time) float64 {
	if now >= s.warmUntil {
		return 1
	}
	left := s.states[i].warmUntil.Sub(now)
	if left <= 0 {
		return 1
	}
	// The share is at most 1 only because a successor may have been given a shorter SlowStart.
	share := min(float64(left)/float64(max(s.slowStart, 1)), 1)
	return 1 - (1-rampFloor)*share
}

// effective is the weight of endpoint i at this moment.
func (s *Set) effective(i int, now mono.Time) float64 {
	return float64(s.endpoints[i].Weight) * s.ramp(i, now)
}

// below maps 64 random bits to 0 <= x < n by their high bits; the bias is n/2^64.
func below(rnd, n uint64) uint64 {
	hi, _ := bits.Mul64(rnd, n)
	return hi
}
