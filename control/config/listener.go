package config

import (
	"strconv"
	"sync"
	"time"

	"go.yaml.in/yaml/v3"
)

// Listener is an address clients connect to, what is spoken there, and how long and how much they may.
type Listener struct {
	Pos
	Name          string
	Address       Address
	Protocols     []Protocol     // at least one, each once; of those of TLS the preferred one first
	TLS           *ListenerTLS   // nil for none
	ProxyProtocol *ProxyProtocol // nil for none
	Timeouts      ListenerTimeouts
	Limits        ListenerLimits
	Trust         Trust
	RequestID     RequestID
}

// ListenerTimeouts bound the time a client can take. Zero means no bound, where allowed.
type ListenerTimeouts struct {
	Head         time.Duration
	Idle         time.Duration
	BetweenBytes time.Duration
	BodyMinRate  int64 // bytes per second, 0 for none
	BodyGrace    time.Duration
	MaxAge       time.Duration // of a connection
	Debt         time.Duration
}

// ListenerLimits bound what a client can send. Zero means no bound, where allowed.
type ListenerLimits struct {
	Connections int
	HeadBytes   int64
	TargetBytes int64
	Fields      int
	BodyBytes   int64
	Requests    int
	Streams     int // of an HTTP/2 connection
}

var listenerObject = sync.OnceValue(func() *object[Listener] {
	return &object[Listener]{
		name: "listener", article: "a",
		about: "Where clients connect.",
		pos:   func(v *Listener) *Pos { return &v.Pos },
		prepare: func(d *decoder, v *Listener) {
			v.Trust, v.RequestID = d.doc.Trust, d.doc.RequestID
			v.Protocols = []Protocol{ProtocolHTTP1}
		},
		keys: []key[Listener]{
			may("name", text("name", checkName), func(v *Listener) *string { return &v.Name },
				`What routes, logs and metrics call it. By default default, default-2 and so on.`),
			need("address", localAddress(), func(v *Listener) *Address { return &v.Address },
				`Where it listens: ":8080" for every address of the machine, "127.0.0.1:8080", "[::1]:8080". Port 0 takes a free one.`),
			inherited("protocols", listenerProtocols(), func(v *Listener) *[]Protocol { return &v.Protocols },
				`What is spoken: http1, h2 (HTTP/2 over TLS) or h2c (HTTP/2 without, by prior knowledge; Upgrade: h2c is refused), or tcp or tls, which stand alone. By default [http1], and with tls [h2, http1]. http1 and h2c go together, told apart by their first bytes; with tls the first of the list is preferred. tcp passes bytes on to a cluster; tls does so by the name the client asks for (SNI), and decrypts nothing.`),
			def("tls", listenerTLS(), func(v *Listener) **ListenerTLS { return &v.TLS }, nil,
				`Certificates and what is offered to clients. Off: cleartext.`),
			def("proxy_protocol", proxyProtocol(), func(v *Listener) **ProxyProtocol { return &v.ProxyProtocol }, nil,
				`A PROXY header (version 1 or 2) before anything else, in which a proxy in front says who the client is. Off: a client could write one itself.`),
			always("timeouts", section(listenerTimeoutsObject), func(v *Listener) *ListenerTimeouts { return &v.Timeouts },
				`How long a client may take.`),
			always("limits", section(listenerLimitsObject), func(v *Listener) *ListenerLimits { return &v.Limits },
				`How much a client may send.`),
			inherited("trust", section(trustObject), func(v *Listener) *Trust { return &v.Trust },
				`Whose word about the client is believed. By default what the document says under trust.`),
			inherited("request_id", section(requestIDObject), func(v *Listener) *RequestID { return &v.RequestID },
				`Who is told the id of a request. By default what the document says under request_id.`),
		},
		short: &short[Listener]{
			about:  "an address",
			takes:  yaml.ScalarNode,
			read:   func(d *decoder, n *yaml.Node, v *Listener) { localAddress().read(d, n, &v.Address) },
			schema: func(b *schemaBuilder) map[string]any { return localAddress().schema(b) },
		},
		check: func(d *decoder, _ *yaml.Node, v *Listener, g given[Listener]) {
			settleProtocols(d, v, g)
			checkRawListener(d, v, g)
			checkStreams(d, v, g)
			checkSuites(d, v, g)
		},
	}
})

var listenerTimeoutsObject = sync.OnceValue(func() *object[ListenerTimeouts] {
	type T = ListenerTimeouts
	return &object[T]{
		name: "listener_timeouts", article: "a",
		about: "How long a client may take.",
		keys: []key[T]{
			def("head", duration(time.Millisecond, time.Hour), func(v *T) *time.Duration { return &v.Head }, 10*time.Second,
				`For the whole head of a request, from its first byte. A head is one or two packets; ten seconds forgive a lost one on a bad line and end those who drip bytes to hold connections.`),
			def("idle", duration(time.Millisecond, 24*time.Hour), func(v *T) *time.Duration { return &v.Idle }, 60*time.Second,
				`Between requests on a connection that is kept. A minute spans the pauses of a person reading; an idle connection holds no buffer, so that it is cheap.`),
			def("between_bytes", duration(time.Millisecond, 24*time.Hour), func(v *T) *time.Duration { return &v.BetweenBytes }, 60*time.Second,
				`Without any progress while a body is sent or an answer is taken. As nginx and HAProxy have it.`),
			def("body_min_rate", orOff(byteRate(1, 1<<40)), func(v *T) *int64 { return &v.BodyMinRate }, 240,
				`The least average rate at which a client must send a body. A modem of 1990 is ten times as fast; a slow attack is not.`),
			def("body_grace", duration(0, time.Hour), func(v *T) *time.Duration { return &v.BodyGrace }, 5*time.Second,
				`How long a body may take before its rate is judged, so that a slow start is no offence.`),
			def("max_age", orOff(duration(time.Second, 7*24*time.Hour)), func(v *T) *time.Duration { return &v.MaxAge }, 0,
				`After which a connection is asked to leave, by GOAWAY or Connection: close, when what runs on it is done. Off: only what stands behind a balancer needs its clients to come anew now and then.`),
			def("debt", orOff(duration(10*time.Millisecond, time.Minute)), func(v *T) *time.Duration { return &v.Debt }, 2*time.Second,
				`How long a new connection may have to wait because others from its address (IPv6: its /64) were cut off for breaking HTTP/2 or failed in their handshake: until twenty times what they wasted has passed, and no longer than this. It takes the profit out of a flood that comes again and again; connections that stand, and addresses that broke nothing, never wait.`),
		},
	}
})

var listenerLimitsObject = sync.OnceValue(func() *object[ListenerLimits] {
	type T = ListenerLimits
	return &object[T]{
		name: "listener_limits", article: "a",
		about: "How much a client may send.",
		keys: []key[T]{
			def("connections", orOff(integer(1, 10_000_000)), func(v *T) *int { return &v.Connections }, 0,
				`Connections of this listener at a time. Off: only the limit of the process counts.`),
			def("head_bytes", size(1<<10, 1<<20), func(v *T) *int64 { return &v.HeadBytes }, 32<<10,
				`The head of a request; more is answered with 431. Four times what nginx takes per line, room for large cookies and tokens.`),
			def("target_bytes", size(256, 1<<20), func(v *T) *int64 { return &v.TargetBytes }, 8000,
				`The target in the request line; more is answered with 414. RFC 9112 section 3 asks for at least 8000.`),
			def("fields", integer(8, 10_000), func(v *T) *int { return &v.Fields }, 100,
				`Header fields of a request; more is answered with 431. Browsers send some twenty; many small ones cost more than few large ones.`),
			def("body_bytes", orOff(size(1, 1<<62)), func(v *T) *int64 { return &v.BodyBytes }, 0,
				`The body of a request; more is answered with 413. Off: bodies are passed on as they come and cost the gateway no memory.`),
			def("requests", orOff(integer(1, 1_000_000_000)), func(v *T) *int { return &v.Requests }, 0,
				`Requests on one connection before it is closed. Off: closing costs both sides and gains nothing here.`),
			def("streams", integer(1, 1000), func(v *T) *int { return &v.Streams }, usualStreams,
				`Requests at a time on one HTTP/2 connection. RFC 9113 section 6.5.2 asks for no fewer than 100, and browsers use no more.`),
		},
	}
})

// usualStreams is how many requests an HTTP/2 connection carries at a time unless something else is said, on both sides.
const usualStreams = 100

// checkStreams points at a bound that bounds nothing. A default may be said: the effective configuration says it.
func checkStreams(d *decoder, v *Listener, g given[Listener]) {
	if g.clean && !v.IsRaw() && v.Limits.Streams != usualStreams && !v.Speaks(ProtocolH2) && !v.Speaks(ProtocolH2C) {
		d.at("limits", func() {
			d.at("streams", func() {
				d.fail(g.value("limits"), "add h2c to protocols, or tls:, or remove it", "streams are those of HTTP/2, which the listener does not speak")
			})
		})
	}
}

// takeListeners joins what listen and listeners said, before routes ask for names.
func takeListeners(d *decoder, doc *Document, _ *yaml.Node) {
	listeners := make([]Listener, 0, len(doc.short.listen)+len(doc.Listeners))
	for _, at := range doc.short.listen {
		var l Listener
		listenerObject().fillWith(d, &l)
		l.Pos, l.Address = at.Pos, at.Address
		listeners = append(listeners, l)
	}
	doc.Listeners = append(listeners, doc.Listeners...)
	nameListeners(d, doc.Listeners)
}

// nameListeners gives every listener a name and tells the decoder the names.
func nameListeners(d *decoder, listeners []Listener) {
	known := &names{}
	for i := range listeners {
		if l := &listeners[i]; l.Name != "" && !known.add(l.Name) {
			d.atListener(i, func() {
				d.fail(nodeAt(l.Pos), "give each a name of its own", "two listeners are named %s", quote(l.Name))
			})
		}
	}
	for i, n := 0, 1; i < len(listeners); i++ {
		for l := &listeners[i]; l.Name == ""; n++ {
			name := "default"
			if n > 1 {
				name += "-" + strconv.Itoa(n)
			}
			if known.add(name) {
				l.Name = name
			}
		}
	}
	d.listenerNames = known
	d.listeners = make(map[string]*Listener, len(listeners))
	for i := range listeners {
		d.listeners[listeners[i].Name] = &listeners[i]
	}
}
