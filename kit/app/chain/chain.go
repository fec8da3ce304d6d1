package chain

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	"github.com/yumen-io/yumen/kit/breaker"
	"github.com/yumen-io/yumen/kit/limit"
	"github.com/yumen-io/yumen/kit/observe"
)

// Never is what turns a time limit off.
const Never time.Duration = -1

// Config is what a Chain does. The zero value is a chain that recovers, keeps deadlines, breaks, validates and logs; it
// authenticates nobody and limits nothing, since only the service knows whom and how much.
type Config struct {
	// Observe makes traces and metrics of requests. Nil: there are none.
	Observe  *observe.Middleware
	Access   Access
	Recovery Recovery
	Deadline Deadline
	Auth     Auth
	// Limits are asked in this order. Nil: there are none.
	Limits     []Limit
	Breaker    Breaker
	Validation Validation

	// Methods are rules for some methods: by name as Call.Method has it, or by the beginning of a name with a * after it
	// ("/shop.Orders/*"), of which the longest counts. Of names that are not there, those of MethodsBare are Bare.
	Methods map[string]Method
	// Route names what a request of HTTP calls before it is routed, so that Methods and keys can go by it: RouteOf for an
	// http.ServeMux. HEAD should have GET's name. Where it says "", or is nil, the name is the Request.Pattern that there is
	// already, as in a handler of a ServeMux; and if there is none, Methods and keys see "" and have the rules of all.
	Route func(*http.Request) string
	// Logger gets the access lines and the panics. Nil: slog.Default().
	Logger *slog.Logger
	// Clock is the time. Nil: time.Now. What ends a context is the runtime's own timer all the same.
	Clock func() time.Time
}

// Method are rules for a method. The zero value has those of all.
type Method struct {
	// Public lets everybody call: credentials are not looked at, and there is no Principal.
	Public bool
	// Scopes must all be the Principal's.
	Scopes []string
	// Allow has the last word on who may call: an error that is no *Refusal is answered as forbidden. Nil: whoever has
	// authenticated may.
	Allow func(context.Context, *Call) error
	// Timeout takes the place of Deadline.Max; Never for methods that go on and on, like a WebSocket's or server-sent events.
	Timeout time.Duration
	// Bare lets calls pass as if the chain ended after recovery, for probes.
	Bare bool
}

// MethodsBare are those that probes call: gRPC's health protocol, and the load that kit/rpc asks for. A rule in
// Config.Methods for one of them counts instead.
var MethodsBare = [...]string{"/grpc.health.v1.Health/*", "/yumen.kit.rpc.v1.Stats/*"}

// Guard is who limits: *limit.Limiter is one.
type Guard interface {
	Middleware(key func(*http.Request) string) func(http.Handler) http.Handler
	UnaryServer(key limit.KeyFunc) grpc.UnaryServerInterceptor
	StreamServer(key limit.KeyFunc) grpc.StreamServerInterceptor
}

// Limit is one that calls must pass.
type Limit struct {
	// Guard is asked. It stays the caller's, who closes it. Required.
	Guard Guard
	// Key is by what calls count together. Nil: ByCaller.
	Key func(*Call) string
	// BeforeAuth asks it before credentials are looked at, so that strangers cannot have any number of them verified.
	// There is no Principal then.
	BeforeAuth bool
}

// ByCaller is the Principal's id, or the address of who has connected where nobody has authenticated. Behind a gateway that
// address is the gateway's.
func ByCaller(c *Call) string {
	if p := c.Principal(); p != nil {
		return p.ID
	}
	return c.Address()
}

// ByMethod is the method's name.
func ByMethod(c *Call) string { return c.Method() }

// Breaker is how methods that fail are left alone for a while.
type Breaker struct {
	Off bool
	// Breaker decides. Nil: one with kit/breaker's defaults, and timeouts as failures.
	Breaker *breaker.Breaker
	// Key is which calls fail together. Nil: ByMethod.
	Key func(*Call) string
}

// Chain is the policy of a service. All methods may be called by any goroutine; it holds none, and nothing has to be closed.
type Chain struct {
	cfg    Config
	log    *slog.Logger
	now    func() time.Time
	exact  map[string]*rule
	begins []*rule // longest first
	other  *rule   // what no rule names
	guards []guard // limits and breaker, in their order

	rules       *rules
	challenge   []string
	sampleBelow uint64 // of 64 random bits
	random      func() uint64
	panicLines  budget

	unary  []unaryStep
	stream []streamStep
	stats  counters
}

// rule is a Method with its name and all defaults in place.
type rule struct {
	Method
	name string
	own  time.Duration // Timeout as it was given, for streams
}

// guard is one limit, or the breaker.
type guard struct {
	Guard
	stage  Stage
	before bool
	key    func(*Call) string
}

// Stats are counts since the start.
type Stats struct {
	Calls uint64
	// Panics of handlers.
	Panics uint64
	// Deadline counts calls whose time was over before or while they were handled; Auth, Limit and Breaker those that were
	// refused, Invalid those whose content was.
	Deadline, Auth, Limit, Breaker, Invalid uint64
}

type counters struct {
	calls, panics atomic.Uint64
	refused       [stages]atomic.Uint64
}

// Stats returns the counts.
func (c *Chain) Stats() Stats {
	of := func(s Stage) uint64 { return c.stats.refused[s].Load() }
	return Stats{
		Calls: c.stats.calls.Load(), Panics: c.stats.panics.Load(),
		Deadline: of(StageDeadline), Auth: of(StageAuth), Limit: of(StageLimit), Breaker: of(StageBreaker), Invalid: of(StageValidation),
	}
}

// New makes a Chain. The error names each setting that is wrong.
func New(cfg Config) (*Chain, error) {
	c := &Chain{cfg: cfg, log: cfg.Logger, now: cfg.Clock}
	if c.log == nil {
		c.log = slog.Default()
	}
	if c.now == nil {
		c.now = time.Now
	}
	err := errors.Join(c.readAccess(), c.readRecovery(), c.readDeadline(), c.readAuth(), c.readMethods(), c.readGuards(), c.readValidation())
	if err != nil {
		return nil, err
	}
	c.buildGRPC()
	return c, nil
}

func bad(format string, args ...any) error { return fmt.Errorf("chain: "+format, args...) }

func (c *Chain) readMethods() error {
	var errs []error
	c.exact = map[string]*rule{}
	add := func(name string, m Method) {
		r := &rule{Method: m, name: name, own: m.Timeout}
		if r.Timeout == 0 {
			r.Timeout = c.cfg.Deadline.Max
		}
		if begin, ok := strings.CutSuffix(name, "*"); ok {
			r.name = begin
			c.begins = append(c.begins, r)
			return
		}
		c.exact[name] = r
	}
	for name, m := range c.cfg.Methods {
		if name == "" || name == "*" {
			errs = append(errs, bad("Methods: %q is no name of a method: what holds for all stands in the parts themselves", name))
		}
		if m.Timeout < 0 && m.Timeout != Never {
			errs = append(errs, bad("Methods[%q].Timeout: %v is below 0 and not Never", name, m.Timeout))
		}
		if m.Public && (len(m.Scopes) > 0 || m.Allow != nil) {
			errs = append(errs, bad("Methods[%q]: whom it is Public for is asked for no Scopes and by no Allow", name))
		}
		if (len(m.Scopes) > 0 || m.Allow != nil) && len(c.cfg.Auth.Authenticators) == 0 {
			errs = append(errs, bad("Methods[%q]: Scopes and Allow need Auth.Authenticators", name))
		}
		add(name, m)
	}
	for _, name := range MethodsBare {
		if _, ok := c.cfg.Methods[name]; !ok {
			add(name, Method{Public: true, Bare: true})
		}
	}
	sortLongestFirst(c.begins)
	c.other = &rule{Method: Method{Timeout: c.cfg.Deadline.Max}}
	return errors.Join(errs...)
}

func sortLongestFirst(rules []*rule) {
	for i := range rules {
		for j := i; j > 0 && len(rules[j].name) > len(rules[j-1].name); j-- {
			rules[j], rules[j-1] = rules[j-1], rules[j]
		}
	}
}

// ruleOf is the rule of a method.
func (c *Chain) ruleOf(method string) *rule {
	if r := c.exact[method]; r != nil {
		return r
	}
	for _, r := range c.begins {
		if strings.HasPrefix(method, r.name) {
			return r
		}
	}
	return c.other
}

func (c *Chain) readGuards() error {
	var errs []error
	for i, l := range c.cfg.Limits {
		if l.Guard == nil {
			errs = append(errs, bad("Limits[%d].Guard: there is none", i))
			continue
		}
		if l.Key == nil {
			l.Key = ByCaller
		}
		c.guards = append(c.guards, guard{l.Guard, StageLimit, l.BeforeAuth, l.Key})
	}
	b := c.cfg.Breaker
	if b.Off {
		if b.Breaker != nil {
			errs = append(errs, bad("Breaker: it is Off, and there is one"))
		}
		return errors.Join(errs...)
	}
	if b.Breaker == nil {
		of, err := breaker.New(breaker.Config{Logger: c.log, Clock: c.now})
		if err != nil {
			errs = append(errs, bad("Breaker: %w", err))
		}
		b.Breaker = of
	}
	if b.Key == nil {
		b.Key = ByMethod
	}
	c.guards = append(c.guards, guard{breakerGuard{b.Breaker}, StageBreaker, false, b.Key})
	return errors.Join(errs...)
}

// breakerGuard is a breaker as a Guard.
type breakerGuard struct{ *breaker.Breaker }

func (b breakerGuard) UnaryServer(key limit.KeyFunc) grpc.UnaryServerInterceptor {
	return b.Breaker.UnaryServer(breaker.KeyFunc(key))
}

func (b breakerGuard) StreamServer(key limit.KeyFunc) grpc.StreamServerInterceptor {
	return b.Breaker.StreamServer(breaker.KeyFunc(key))
}

// RouteOf is Config.Route for what mux will route.
func RouteOf(mux *http.ServeMux) func(*http.Request) string {
	return func(r *http.Request) string {
		_, pattern := mux.Handler(r)
		return pattern
	}
}
