package compile

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/yumen-io/yumen/control/config"
	"github.com/yumen-io/yumen/engine/message"
	"github.com/yumen-io/yumen/filters"
	"github.com/yumen-io/yumen/filters/headers"
	"github.com/yumen-io/yumen/filters/rewrite"
	"github.com/yumen-io/yumen/filters/transcode"
	"github.com/yumen-io/yumen/gateway"
	"github.com/yumen-io/yumen/policy/retry"
)

func (c *compiler) compileRoutes() {
	for i := range c.doc.Filters { // those that no route uses, too, unless it takes a route to know what they do
		if said, ok := c.doc.Filters[i].Body.(*config.TranscodeFilter); !ok || said.Descriptors != "" {
			c.filter(&c.doc.Filters[i], "", "", at{})
		}
	}
	s := c.compileTable()
	plans := make([]RoutePlan, len(c.doc.Routes))
	for i := range plans {
		c.compileRoute(i, &plans[i])
	}
	c.checkAddressKeys()
	c.plan.Routes = make([]*RoutePlan, len(s.of), len(s.of)+1)
	for i, r := range s.of {
		c.plan.Routes[i] = &plans[r]
	}
	c.compilePassages(plans)
}

func (c *compiler) compileRoute(i int, p *RoutePlan) {
	said := &c.doc.Routes[i]
	p.Name, p.Cluster, p.said = said.Name, -1, said
	p.Route.Name = said.Name
	c.checkEncodedSlash(i)
	c.checkBraces(i)
	c.checkPreflights(i)
	c.checkClientCertificates(i)
	c.checkCache(i)
	c.checkMirrors(i)
	c.compileFilters(i, p)
	switch {
	case said.Respond != nil:
		p.Route.Respond = respond(said.Respond)
	case said.Redirect != nil:
		to, cause, fix := parseTarget(said.Redirect.To, c.plan.Path)
		if cause == "" {
			cause, fix = missingParams(paramsOf(to), said)
		}
		if cause != "" {
			c.fail(c.inRoute(i, "redirect.to", said.Redirect.Pos), cause, fix)
		}
		p.Route.Redirect = &gateway.Redirect{Status: said.Redirect.Status, To: templateOf(to)}
	default:
		c.compileProxy(i, p)
	}
}

// checkEncodedSlash points at a pattern that no request gets as far as: what it asks for is refused or decoded before.
func (c *compiler) checkEncodedSlash(i int) {
	text := &c.doc.Routes[i].Match.Path
	upper := strings.ToUpper(text.Value)
	policy := c.plan.Path.EncodedSlash
	slash, backslash := strings.Contains(upper, "%2F"), strings.Contains(upper, "%5C")
	if !slash && !backslash || policy == message.KeepEncodedSlash {
		return
	}
	where := c.inMatch(i, "path", text.Pos)
	if slash && policy == message.DecodeEncodedSlash {
		c.warn(where, fmt.Sprintf("no request has the path %q: encoded slashes are decoded before", text.Value), "write a slash")
		return
	}
	c.warn(where, fmt.Sprintf("no request has the path %q: one with an encoded slash or backslash is refused before", text.Value),
		"let them through with path: {encoded_slash: keep}, at the top of the document")
}

// checkBraces points at parameters in the spelling of others, which are text here that hardly a client sends.
func (c *compiler) checkBraces(i int) {
	text := &c.doc.Routes[i].Match.Path
	for segment := range strings.SplitSeq(text.Value, "/") {
		inner, ok := strings.CutPrefix(segment, "{")
		if !ok {
			inner, ok = strings.CutPrefix(segment, "<")
		}
		if !ok || !strings.HasSuffix(inner, "}") && !strings.HasSuffix(inner, ">") {
			continue
		}
		name, _, _ := strings.Cut(strings.Trim(inner, "}>*. "), ":")
		if cause, _ := checkParam(":"+name, true); cause != "" {
			name = "name"
		}
		c.warn(c.inMatch(i, "path", text.Pos), fmt.Sprintf("the segment %q takes only requests with just this text", segment),
			fmt.Sprintf("write :%s for one segment, or *%s for all that follows", name, name))
		return
	}
}

func respond(said *config.Respond) *gateway.Respond {
	r := &gateway.Respond{Status: said.Status, Body: []byte(said.Body)}
	for _, f := range said.Headers {
		r.Fields = append(r.Fields, gateway.Field{Name: f.Name, Value: f.Value})
	}
	return r
}

// compileProxy is the part of a route that leads to a cluster.
func (c *compiler) compileProxy(i int, p *RoutePlan) {
	said := p.said
	p.Cluster = c.clusters[said.Cluster.Value]
	p.Route.Retry = c.retryPolicy(i, &said.Retry)
	p.Route.NonIdempotent = said.Retry.NonIdempotent
	if h := said.Retry.Hedge; h != nil {
		p.Route.Hedge = &retry.Hedge{Quantile: h.Percentile.Fraction(), After: h.After}
	}
	p.Route.Request = said.Timeouts.Request
	p.Route.FirstByte = said.Timeouts.FirstByte
	p.Route.BetweenBytes = said.Timeouts.BetweenBytes
	p.Route.Key = c.keys[p.Cluster]
	where := said.Cluster.Pos
	if said.HashOn != nil {
		p.Route.Key, where = key(said.HashOn), said.HashOn.Pos
	}
	if k := p.Route.Key; k != nil && k.By == gateway.ByPathParam {
		c.checkKey(i, k.Name, where)
	}
}

// checkKey refuses to hash by a parameter that the route's path does not have: all its requests would go by the client's
// address, which is not what the document says.
func (c *compiler) checkKey(i int, name string, where config.Pos) {
	said := &c.doc.Routes[i]
	has := pathParams(said.Match.Path.Value)
	if slices.ContainsFunc(has, func(p string) bool { return paramName(p) == name }) {
		return
	}
	if said.HashOn != nil {
		c.fail(c.inRoute(i, "hash_on.path_param", where), fmt.Sprintf("the path %q has no parameter %q to hash", said.Match.Path.Value, name),
			orHave(has))
		return
	}
	c.fail(c.inRoute(i, "cluster", where),
		fmt.Sprintf("cluster %q hashes the path parameter %q, which the path %q does not have", said.Cluster.Value, name, said.Match.Path.Value),
		"add it to the path, or say hash_on: client_address on the route")
}

// retryKey is what makes two retry policies equal.
type retryKey struct {
	attempts                         int
	perTry, base, max                time.Duration
	connect, reset, timeout, anyTime bool
	statuses, grpc                   string
}

func (c *compiler) retryPolicy(i int, said *config.Retry) *retry.Policy {
	k := retryKey{attempts: said.Attempts, perTry: said.PerTry, base: said.Backoff.Base, max: said.Backoff.Max,
		connect: said.On.Connect, reset: said.On.Reset, timeout: said.On.Timeout, anyTime: said.NonIdempotent}
	if len(said.On.Statuses) > 0 {
		k.statuses = fmt.Sprint(said.On.Statuses)
		c.checkStatuses(i, said.On.Statuses)
	}
	if len(said.On.GRPC) > 0 {
		k.grpc = fmt.Sprint(said.On.GRPC)
	}
	if p := c.retries[k]; p != nil {
		return p
	}
	// What an upstream says it left alone may always be asked of another.
	cfg := retry.Config{Attempts: said.Attempts, PerTry: said.PerTry, On: retry.OnRefused, BackoffMax: said.Backoff.Max,
		BackoffBase: said.Backoff.Base}
	if cfg.BackoffBase == 0 {
		cfg.BackoffBase = -1 // none; zero is a default there
	}
	for _, on := range []struct {
		said bool
		is   retry.Conditions
	}{{said.On.Connect, retry.OnConnectFailure}, {said.On.Reset, retry.OnReset | retry.OnBadResponse}, {said.On.Timeout, retry.OnTimeout}} {
		if on.said {
			cfg.On |= on.is
		}
	}
	for _, r := range said.On.Statuses {
		for status := r.From; status <= r.To; status++ {
			cfg.Statuses = append(cfg.Statuses, status)
		}
	}
	for _, status := range said.On.GRPC {
		cfg.GRPC = append(cfg.GRPC, retry.GRPCStatus(status.Code()))
	}
	p := retry.New(cfg)
	c.retries[k] = p
	return p
}

// checkStatuses refuses to try again what is no failure: the policy would ignore it.
func (c *compiler) checkStatuses(i int, list []config.StatusRange) {
	j := slices.IndexFunc(list, func(r config.StatusRange) bool { return r.From < 400 })
	if j < 0 {
		return
	}
	where := c.inRoute(i, "retry.on", config.Pos{})
	if slices.Equal(list, c.doc.Defaults.Retry.On.Statuses) {
		if c.badRetry {
			return
		}
		c.badRetry = true
		where = at{c.doc.Pos, "defaults.retry.on"}
	}
	c.fail(where, fmt.Sprintf("an answer with status %s is no failure, so that it is not tried again", list[j]), "list statuses from 400 to 599")
}

func (c *compiler) compileFilters(i int, p *RoutePlan) {
	uses := p.said.Filters
	if len(uses) == 0 {
		return
	}
	p.filters = make([]*filters.Filter, 0, len(uses))
	p.Route.Filters = make([]gateway.Hooks, 0, len(uses))
	for j := range uses {
		where := c.inRoute(i, "filters["+strconv.Itoa(j)+"]", uses[j].Pos)
		f := c.filter(uses[j].Filter, p.said.Cluster.Value, ownerOf(p.said, j), where)
		if f == nil {
			continue
		}
		if cause, fix := missingParams(f.Params, p.said); cause != "" {
			where.path += "." + f.Hooks.Name
			c.fail(where, cause, fix)
		}
		p.filters, p.Route.Filters = append(p.filters, f), append(p.Route.Filters, f.Hooks)
	}
}

// filterUse is a filter with a name, and the cluster of the route that uses it if that makes a difference.
type filterUse struct {
	said    *config.Filter
	cluster string
}

// ownerOf is what the filter at a place of a route's list is called after if it has no name: the route, and the place if there
// are more of its kind.
func ownerOf(r *config.Route, place int) string {
	kind := r.Filters[place].Kind
	if slices.ContainsFunc(r.Filters[:place], func(o config.FilterUse) bool { return o.Kind == kind && o.Name == "" }) {
		return r.Name + "#" + strconv.Itoa(place+1)
	}
	return r.Name
}

// filter compiles a filter, one with a name but once. It returns nil if something is wrong with it. One without a name is called
// after its owner.
func (c *compiler) filter(said *config.Filter, cluster, owner string, where at) *filters.Filter {
	if t, ok := said.Body.(*config.TranscodeFilter); !ok || !t.Reflection {
		cluster = ""
	}
	use := filterUse{said, cluster}
	if said.Name != "" {
		if f, known := c.filters[use]; known {
			return f
		}
		where = at{said.Pos, "filters" + member(said.Name)}
	}
	spec, err := c.filterSpec(said, cluster)
	if err != nil {
		if !errors.Is(err, ErrUnasked) {
			c.fail(at{where.Pos, where.path + "." + said.Kind}, err.Error(), "")
		}
		if said.Name != "" {
			c.filters[use] = nil
		}
		return nil
	}
	f, problems := filters.Compile(spec, c.context(said, owner))
	for _, p := range problems {
		inside := at{where.Pos, where.path + "." + said.Kind}
		if p.Field != "" {
			inside.path += "." + p.Field
		}
		c.fail(inside, p.Cause, p.Fix)
	}
	switch {
	case f == nil:
	case said.Mode() == config.GuardOff:
		f = switchedOff(f)
	case f.Guard != nil:
		c.plan.Guards = append(c.plan.Guards, f.Guard)
	case f.Split != nil:
		c.plan.Splits = append(c.plan.Splits, f.Split)
	}
	if said.Name != "" {
		c.filters[use] = f
	}
	return f
}

// filterSpec translates a filter's settings.
func (c *compiler) filterSpec(said *config.Filter, cluster string) (filters.Spec, error) {
	switch body := said.Body.(type) {
	case *config.HeadersFilter:
		return filters.Spec{Headers: &headers.Spec{Request: changes(&body.Request), Response: changes(&body.Response)}}, nil
	case *config.RewriteFilter:
		return filters.Spec{Rewrite: &rewrite.Spec{StripPrefix: body.StripPrefix, Prefix: body.Prefix, Path: body.Path, Host: body.Host}}, nil
	case *config.GRPCWebFilter:
		return filters.Spec{GRPCWeb: &filters.GRPCWeb{}}, nil
	case *config.TranscodeFilter:
		spec, err := c.transcodeSpec(body, cluster)
		return filters.Spec{Transcode: spec}, err
	case *config.BreakerFilter:
		return filters.Spec{Breaker: breakerSpec(body)}, nil
	case *config.IPFilter:
		spec, err := c.ipSpec(body)
		return filters.Spec{IP: spec}, err
	case *config.JWTFilter:
		spec, err := c.jwtSpec(body)
		return filters.Spec{JWT: spec}, err
	case *config.APIKeyFilter:
		spec, err := c.apiKeySpec(body)
		return filters.Spec{APIKey: spec}, err
	case *config.HMACAuthFilter:
		spec, err := c.hmacAuthSpec(body)
		return filters.Spec{HMACAuth: spec}, err
	case *config.MTLSFilter:
		return filters.Spec{MTLS: mtlsSpec(body)}, nil
	case *config.BasicAuthFilter:
		spec, err := c.basicAuthSpec(body)
		return filters.Spec{BasicAuth: spec}, err
	case *config.ExtAuthFilter:
		spec, err := c.extAuthSpec(body)
		return filters.Spec{ExtAuth: spec}, err
	case *config.CORSFilter:
		return filters.Spec{CORS: corsSpec(body)}, nil
	case *config.AdmissionFilter:
		return filters.Spec{Admission: admissionSpec(body)}, nil
	case *config.ShedFilter:
		return filters.Spec{Shed: shedSpec(body)}, nil
	case *config.LimitFilter:
		return filters.Spec{Limit: limitSpec(body)}, nil
	case *config.CacheFilter:
		return filters.Spec{Cache: cacheSpec(body)}, nil
	case *config.CompressFilter:
		return filters.Spec{Compress: compressSpec(body)}, nil
	case *config.DecompressFilter:
		return filters.Spec{Decompress: decompressSpec(body)}, nil
	case *config.SizesFilter:
		return filters.Spec{Sizes: sizesSpec(body)}, nil
	case *config.SplitFilter:
		spec, err := c.splitSpec(body)
		return filters.Spec{Split: spec}, err
	case *config.ColourFilter:
		return filters.Spec{Colour: colourSpec(body)}, nil
	case *config.FaultFilter:
		return filters.Spec{Fault: faultSpec(body)}, nil
	case *config.FallbackFilter:
		spec, err := c.fallbackSpec(body)
		return filters.Spec{Fallback: spec}, err
	case *config.MirrorFilter:
		spec, err := c.mirrorSpec(body)
		return filters.Spec{Mirror: spec}, err
	}
	panic("compile: no filter " + said.Kind) // the parser lists the same
}

// streams are the ways to write a stream.
var streams = map[config.TranscodeStream]transcode.Stream{
	config.StreamByAccept: transcode.ByAccept, config.StreamNDJSON: transcode.AlwaysLines, config.StreamSSE: transcode.AlwaysEvents,
}

func (c *compiler) transcodeSpec(said *config.TranscodeFilter, cluster string) (*transcode.Spec, error) {
	if c.descriptors == nil {
		return nil, ErrUnasked
	}
	var of *config.Cluster
	if i, known := c.clusters[cluster]; known && cluster != "" {
		of = &c.doc.Clusters[i]
	}
	set, err := c.descriptors(said, of)
	if err != nil {
		return nil, err
	}
	return &transcode.Spec{Descriptors: set, Stream: streams[said.Stream], Options: transcode.Options{
		Services: said.Services, DiscardUnknownFields: said.UnknownFields == config.IgnoreUnknownFields,
		DiscardUnknownParameters: said.UnknownFields == config.IgnoreUnknownFields,
		AlwaysPrintFields:        said.AlwaysPrintFields, PreserveProtoNames: said.PreserveProtoNames, EnumsAsNumbers: said.EnumsAsNumbers,
		MessageBytesMax: int(said.MaxBody),
	}}, nil
}

func changes(said *config.FieldChanges) headers.Changes {
	convert := func(list []config.Field) []headers.Field {
		var out []headers.Field
		for _, f := range list {
			out = append(out, headers.Field{Name: f.Name, Value: f.Value})
		}
		return out
	}
	return headers.Changes{Remove: said.Remove, Set: convert(said.Set), Add: convert(said.Add)}
}

// pathParams are the parameters of a path pattern, as written: ":id", "*rest". A literal that begins with one of these
// characters has a backslash before it.
func pathParams(pattern string) []string {
	var list []string
	for s := range strings.SplitSeq(pattern, "/") {
		if s != "" && (s[0] == ':' || s[0] == '*') {
			list = append(list, s)
		}
	}
	return list
}

// paramName is the name under which a parameter's value is kept: of a wildcard without a name, "*".
func paramName(segment string) string {
	if segment == "*" {
		return segment
	}
	return segment[1:]
}

// missingParams says which of the parameters needed a route does not have.
func missingParams(need []string, r *config.Route) (cause, fix string) {
	if len(need) == 0 {
		return "", ""
	}
	has := pathParams(r.Match.Path.Value)
	for _, p := range need {
		if !slices.Contains(has, p) {
			return fmt.Sprintf("the route's path %q has no parameter %q", r.Match.Path.Value, p), orHave(has)
		}
	}
	return "", ""
}

func orHave(params []string) string {
	if len(params) == 0 {
		return "the path has no parameters; add one, as in /users/:id"
	}
	return "it has " + strings.Join(params, ", ")
}
