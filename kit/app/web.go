package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// web is an HTTP server: that of the service, or that of operators. A nil one does nothing, in the phases of a drain.
type web struct {
	a         *App
	what      string
	server    *http.Server
	l         *listener    // what counts its connections
	on        net.Listener // what it accepts from: l, or a part of it
	overTLS   bool         // by the server itself
	cancel    context.CancelFunc
	served    chan struct{} // closed when Serve has returned
	refusing  atomic.Bool
	refusedAt time.Time
}

func newWeb(a *App) *web {
	h := &a.cfg.HTTP
	next := h.Handler
	if a.cfg.Chain != nil {
		next = a.cfg.Chain.Handler(next)
	}
	w := &web{a: a, what: "HTTP", served: make(chan struct{})}
	w.server = a.server(&entrance{a: a, next: next, probes: a.cfg.Admin.Address == ""})
	var base context.Context
	base, w.cancel = context.WithCancel(context.WithValue(context.Background(), drainKey{}, a.leaving.Done()))
	w.server.BaseContext = func(net.Listener) context.Context { return base }
	var p http.Protocols
	p.SetHTTP1(true)
	if !a.cfg.GRPC.SharePort {
		p.SetHTTP2(h.TLS != nil)
		p.SetUnencryptedHTTP2(h.TLS == nil)
	}
	w.server.Protocols = &p
	if h.TLS != nil && !a.cfg.GRPC.SharePort {
		w.server.TLSConfig, w.overTLS = h.TLS.Clone(), true
	}
	return w
}

// newAdmin has the same bounds on what a client may do; a handler that takes longer than them, as profiles do, says so to its writer.
func newAdmin(a *App) *web {
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, r *http.Request) { a.probe(w, r, false, true) })
	mux.HandleFunc("/readyz", func(w http.ResponseWriter, r *http.Request) { a.probe(w, r, true, true) })
	if a.cfg.Admin.Handler != nil {
		mux.Handle("/", a.cfg.Admin.Handler)
	}
	return &web{a: a, what: "admin", server: a.server(mux), served: make(chan struct{}), cancel: func() {}}
}

func (a *App) server(h http.Handler) *http.Server {
	c := &a.cfg.HTTP
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: c.ReadHeaderTimeout,
		ReadTimeout:       c.ReadTimeout,
		WriteTimeout:      c.WriteTimeout,
		IdleTimeout:       c.IdleTimeout,
		MaxHeaderBytes:    c.HeadBytesMax,
		// What net/http has to say is about single connections, mostly of strangers.
		ErrorLog: slog.NewLogLogger(a.log.Handler(), slog.LevelDebug),
	}
}

// entrance is what every request meets first.
type entrance struct {
	a      *App
	next   http.Handler
	probes bool
}

func (e *entrance) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if e.probes && (r.URL.Path == "/healthz" || r.URL.Path == "/readyz") {
		if e.a.gate.Load() == gateLeaving {
			w.Header().Set("Connection", "close")
		}
		e.a.probe(w, r, r.URL.Path == "/readyz", false)
		return
	}
	switch e.a.gate.Load() {
	case gateShut:
		h := w.Header()
		h.Set("Retry-After", "1")
		h.Set("Connection", "close") // by then there may be another to ask
		http.Error(w, "the service is starting\nreason: starting", http.StatusServiceUnavailable)
		return
	case gateLeaving:
		// In HTTP/2, net/http says GOAWAY for it.
		w.Header().Set("Connection", "close")
	}
	t := e.a.flight.begin(r.Method, r.URL.Path)
	defer e.a.flight.done(t)
	e.next.ServeHTTP(w, r)
}

type drainKey struct{}

// Draining is closed when callers are told to go, which leaves the goaway and finish phases for what still runs: handlers of streams and
// WebSockets, whose ends nobody else brings about, wait for it beside their own events. It takes the context of an HTTP request or of a
// streaming call; for any other, unary calls included, it is nil and never closed.
func Draining(ctx context.Context) <-chan struct{} {
	c, _ := ctx.Value(drainKey{}).(<-chan struct{})
	return c
}

// serve accepts connections until close or end.
func (w *web) serve() {
	go func() {
		defer close(w.served)
		err := guarded(func() error {
			if w.overTLS {
				return w.server.ServeTLS(w.on, "", "")
			}
			return w.server.Serve(w.on)
		})
		if !w.refusing.Load() {
			w.a.end(w.what+" server failed", fmt.Errorf("app: %s server: %w", w.what, err))
		}
	}()
}

// refuse takes no more connections, ends those that are idle, and lets the others know with their answers. They have been told to go for
// a while; what is idle still has not asked for anything meanwhile.
func (w *web) refuse() {
	if w == nil {
		return
	}
	w.refusing.Store(true)
	w.refusedAt = time.Now()
	_ = w.l.Close()
	w.server.SetKeepAlivesEnabled(false)
}

// quiet says that no connection may still bring its first request: net/http's Shutdown would drop it unanswered.
func (w *web) quiet() bool {
	return w == nil || time.Since(w.refusedAt) > silentMax || w.l.silent() == 0
}

// close ends the connections after the last answers.
func (w *web) close() {
	if w == nil {
		return
	}
	w.refusing.Store(true)
	w.l.closeAll(true) // Shutdown would wait for their first request
	w.a.until(flushMax, func() bool { return w.l.open() == 0 })
	ctx, cancel := context.WithTimeout(w.a.forced, settleMax)
	defer cancel()
	_ = w.server.Shutdown(ctx) // what is left, end cuts off
}

// cut ends the contexts and connections of requests that run.
func (w *web) cut() {
	if w == nil {
		return
	}
	w.cancel()
	_ = w.server.Close()
	w.l.closeAll(false) // those that were hijacked
}

// end leaves nothing.
func (w *web) end() {
	if w == nil {
		return
	}
	w.refusing.Store(true)
	w.cut()
	<-w.served
}

// listen opens all ports, so that one that is taken is known before anything has started.
func (a *App) listen(ctx context.Context) (err error) {
	open := func(what, address string, connectionsMax int) *listener {
		l, failed := listen(ctx, what, address, connectionsMax, a.log)
		err = errors.Join(err, failed)
		return l
	}
	at := &Addresses{}
	if w := a.web; w != nil {
		if w.l = open(w.what, a.cfg.HTTP.Address, a.cfg.HTTP.ConnectionsMax); w.l != nil {
			w.on, at.HTTP = w.l, w.l.Addr().String()
		}
	}
	if w := a.admin; w != nil {
		if w.l = open(w.what, a.cfg.Admin.Address, a.cfg.HTTP.ConnectionsMax); w.l != nil {
			w.on, at.Admin = w.l, w.l.Addr().String()
		}
	}
	if g := a.rpc; g != nil && !a.cfg.GRPC.SharePort {
		if g.l = open("gRPC", a.cfg.GRPC.Address, a.cfg.GRPC.ConnectionsMax); g.l != nil {
			g.on, at.GRPC = g.l, g.l.Addr().String()
		}
	}
	if err != nil {
		return err
	}
	if a.cfg.GRPC.SharePort {
		at.GRPC = at.HTTP
		a.share()
	}
	a.addresses.Store(&Addresses{HTTP: a.known(at.HTTP), GRPC: a.known(at.GRPC), Admin: a.known(at.Admin)})
	return nil
}

// known is an address as callers know it.
func (a *App) known(address string) string {
	at, err := netip.ParseAddrPort(address)
	if err != nil || !at.Addr().IsUnspecified() || a.cfg.Host == "" {
		return address // "" is one that is not there
	}
	return net.JoinHostPort(a.cfg.Host, strconv.Itoa(int(at.Port())))
}

// listeners are those that are open or were.
func (a *App) listeners() (all []*listener) {
	if at := a.Addresses(); at == (Addresses{}) {
		return nil
	}
	if a.web != nil {
		all = append(all, a.web.l)
	}
	if a.rpc != nil && !a.cfg.GRPC.SharePort {
		all = append(all, a.rpc.l)
	}
	return all
}

func (a *App) closeListeners() {
	for _, w := range []*web{a.web, a.admin} {
		if w != nil && w.l != nil {
			_ = w.l.Close()
		}
	}
	if a.rpc != nil && a.rpc.l != nil {
		_ = a.rpc.l.Close()
	}
}

// serve begins to serve on all ports.
func (a *App) serve() {
	if a.admin != nil {
		a.admin.serve()
	}
	if a.web != nil {
		a.web.serve()
	}
	if a.rpc != nil {
		a.rpc.serve()
	}
	at := a.Addresses()
	a.log.Info("the service listens", "http", at.HTTP, "grpc", at.GRPC, "admin", at.Admin)
}

// ownMethod tells the calls that ask how the service is: they pass before it is ready, and without the chain's policies.
func ownMethod(method string) bool {
	return strings.HasPrefix(method, "/grpc.health.v1.Health/") || strings.HasPrefix(method, "/yumen.kit.rpc.v1.Stats/")
}
