// Package filters is the catalogue of what can happen to a request on its way: every kind of filter there is, written out
// in one list, so that a reader finds them all and nothing is there because something was imported.
//
// A filter lives in a folder of its own, knows the gateway's hooks and the shape of heads, and neither other filters nor
// documents: control/compile translates a document's words into the settings here. A new filter is its folder, a
// field of Spec and a case of Compile.
package filters

import (
	"github.com/yumen-io/yumen/engine/message"
	"github.com/yumen-io/yumen/filters/admission"
	"github.com/yumen-io/yumen/filters/apikey"
	"github.com/yumen-io/yumen/filters/basicauth"
	"github.com/yumen-io/yumen/filters/breaker"
	"github.com/yumen-io/yumen/filters/cache"
	"github.com/yumen-io/yumen/filters/colour"
	"github.com/yumen-io/yumen/filters/compress"
	"github.com/yumen-io/yumen/filters/cors"
	"github.com/yumen-io/yumen/filters/decompress"
	"github.com/yumen-io/yumen/filters/extauth"
	"github.com/yumen-io/yumen/filters/fallback"
	"github.com/yumen-io/yumen/filters/fault"
	"github.com/yumen-io/yumen/filters/grpcweb"
	"github.com/yumen-io/yumen/filters/headers"
	"github.com/yumen-io/yumen/filters/hmacauth"
	"github.com/yumen-io/yumen/filters/ip"
	"github.com/yumen-io/yumen/filters/jwt"
	"github.com/yumen-io/yumen/filters/limit"
	"github.com/yumen-io/yumen/filters/mirror"
	"github.com/yumen-io/yumen/filters/mtls"
	"github.com/yumen-io/yumen/filters/rewrite"
	"github.com/yumen-io/yumen/filters/shed"
	"github.com/yumen-io/yumen/filters/sizes"
	"github.com/yumen-io/yumen/filters/split"
	"github.com/yumen-io/yumen/filters/transcode"
	"github.com/yumen-io/yumen/gateway"
	"github.com/yumen-io/yumen/policy/route"
)

// Spec is the settings of a filter. Exactly one field is set: that is its kind.
type Spec struct {
	Headers    *headers.Spec
	Rewrite    *rewrite.Spec
	GRPCWeb    *GRPCWeb
	Transcode  *transcode.Spec
	HMACAuth   *hmacauth.Spec
	IP         *ip.Spec
	MTLS       *mtls.Spec
	Breaker    *breaker.Spec
	Limit      *limit.Spec
	Admission  *admission.Spec
	Shed       *shed.Spec
	Cache      *cache.Spec
	APIKey     *apikey.Spec
	BasicAuth  *basicauth.Spec
	JWT        *jwt.Spec
	ExtAuth    *extauth.Spec
	CORS       *cors.Spec
	Compress   *compress.Spec
	Decompress *decompress.Spec
	Sizes      *sizes.Spec
	Split      *split.Spec
	Colour     *colour.Spec
	Fallback   *fallback.Spec
	Fault      *fault.Spec
	Mirror     *mirror.Spec
}

// Context is what a filter is compiled with beside its settings.
type Context struct {
	Path   message.PathPolicy    // by which the paths of requests are brought to normal form
	Name   string                // what the filter is called in metrics and records
	Mode   gateway.Mode          // of a guard
	Memory *gateway.Recollection // nil: nothing is remembered
}

// GRPCWeb is the settings of the gRPC-Web bridge: there are none.
type GRPCWeb struct{}

// Filter is a compiled filter. It is frozen and may serve any number of routes.
type Filter struct {
	Hooks gateway.Hooks
	// Guard is who judges, of a filter that does; else nil.
	Guard *gateway.Guard
	// Split is who divides requests among clusters, of a filter that does; else nil.
	Split *split.Filter
	// Params are the path parameters that a route must have to use the filter, written as in its pattern: ":id", "*rest".
	Params []string
	// Request does to a head what the request hook does, for those who ask what would happen; nil if that is nothing.
	Request func(h *message.Head, p *route.Params)
	// Text says for people what the filter does.
	Text string
}

// Problem is what is wrong with a filter's settings.
type Problem struct {
	Field string // of the settings, such as "request.set"; empty for the whole
	Cause string
	Fix   string
}

// Compile makes a filter of its settings, or says everything that is wrong with them. A Spec without a kind is a mistake of the
// caller, and a panic.
func Compile(s Spec, c Context) (*Filter, []Problem) {
	switch {
	case s.Headers != nil:
		return compileHeaders(s.Headers)
	case s.Rewrite != nil:
		return compileRewrite(s.Rewrite, c.Path)
	case s.GRPCWeb != nil:
		return compileGRPCWeb(), nil
	case s.Transcode != nil:
		return compileTranscode(s.Transcode)
	case s.Cache != nil:
		return compileCache(s.Cache, c)
	case s.Breaker != nil:
		return compileBreaker(s.Breaker, c)
	case s.IP != nil:
		return compileIP(s.IP, c)
	case s.HMACAuth != nil:
		return compileHMACAuth(s.HMACAuth, c)
	case s.MTLS != nil:
		return compileMTLS(s.MTLS, c)
	case s.Admission != nil:
		return compileAdmission(s.Admission, c)
	case s.Shed != nil:
		return compileShed(s.Shed, c)
	case s.Limit != nil:
		return compileLimit(s.Limit, c)
	case s.JWT != nil:
		return compileJWT(s.JWT, c)
	case s.APIKey != nil:
		return compileAPIKey(s.APIKey, c)
	case s.BasicAuth != nil:
		return compileBasicAuth(s.BasicAuth, c)
	case s.ExtAuth != nil:
		return compileExtAuth(s.ExtAuth, c)
	case s.CORS != nil:
		return compileCORS(s.CORS, c)
	case s.Compress != nil:
		return compileCompress(s.Compress, c)
	case s.Decompress != nil:
		return compileDecompress(s.Decompress, c)
	case s.Sizes != nil:
		return compileSizes(s.Sizes, c)
	case s.Split != nil:
		return compileSplit(s.Split, c)
	case s.Colour != nil:
		return compileColour(s.Colour, c)
	case s.Fault != nil:
		return compileFault(s.Fault, c)
	case s.Fallback != nil:
		return compileFallback(s.Fallback, c)
	case s.Mirror != nil:
		return compileMirror(s.Mirror, c)
	}
	panic("filters: a filter of no kind")
}

func compileHeaders(s *headers.Spec) (*Filter, []Problem) {
	f, problems := headers.Compile(*s)
	if f == nil {
		return nil, each(problems, func(p headers.Problem) Problem { return Problem(p) })
	}
	out := &Filter{Hooks: gateway.Hooks{Name: "headers"}, Text: f.String()}
	if f.ChangesRequest() {
		out.Hooks.Request = func(x *gateway.Exchange) gateway.Verdict { f.Request(x.Request); return gateway.GoOn }
		out.Request = func(h *message.Head, _ *route.Params) { f.Request(h) }
	}
	if f.ChangesResponse() {
		out.Hooks.Response = func(_ *gateway.Exchange, h *message.Head) { f.Response(h) }
	}
	return out, nil
}

func compileRewrite(s *rewrite.Spec, policy message.PathPolicy) (*Filter, []Problem) {
	f, problems := rewrite.Compile(*s, policy)
	if f == nil {
		return nil, each(problems, func(p rewrite.Problem) Problem { return Problem(p) })
	}
	return &Filter{
		Hooks: gateway.Hooks{Name: "rewrite", Request: func(x *gateway.Exchange) gateway.Verdict {
			f.Request(x.Request, &x.Params)
			return gateway.GoOn
		}},
		Params:  f.Params(),
		Request: f.Request,
		Text:    f.String(),
	}, nil
}

func compileGRPCWeb() *Filter {
	f := new(grpcweb.Filter)
	return &Filter{
		Hooks:   gateway.Hooks{Name: "grpc_web", Request: f.Request, Explain: f.Explain},
		Request: func(h *message.Head, _ *route.Params) { grpcweb.Rewrite(h) },
		Text:    "gRPC-Web to gRPC",
	}
}

func compileTranscode(s *transcode.Spec) (*Filter, []Problem) {
	f, problems := transcode.NewFilter(*s)
	if f == nil {
		return nil, each(problems, func(p transcode.Problem) Problem {
			out := Problem{Field: p.Field, Cause: p.Cause, Fix: p.Fix}
			if out.Field == "" {
				out.Field = "descriptors"
			}
			if p.Binding != "" {
				out.Cause = p.Binding + ": " + p.Cause
			}
			return out
		})
	}
	return &Filter{
		Hooks:   gateway.Hooks{Name: "transcode", Request: f.Request, Explain: f.Explain},
		Request: func(h *message.Head, _ *route.Params) { f.Rewrite(h) },
		Text:    f.String(),
	}, nil
}

func each[P any](problems []P, convert func(P) Problem) []Problem {
	list := make([]Problem, len(problems))
	for i, p := range problems {
		list[i] = convert(p)
	}
	return list
}
