package demo

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// Origin is one of the upstreams: an HTTP server on loopback that says who it is and what it was asked.
type Origin struct {
	Name    string
	Address string // where it listens, which need not be what was asked for

	// Frozen.
	ills   ills
	began  time.Time
	server *http.Server
	served chan error // what Serve returned

	requests atomic.Uint64
}

// ills say how an origin is unwell. The zero value is in good health.
type ills struct {
	// Of every five requests one is answered 500, one is cut off and one is slow, all by number and not by chance, so that
	// whoever tries three requests sees something of it.
	failing bool
	slow    time.Duration
	// Of every cycle the last part is spent sick: health checks fail then, and so does everything else.
	cycle, sick time.Duration
}

// unwell is cherry's state. The cycle is short enough to be seen by someone who watches `yumen status` for a minute.
var unwell = ills{failing: true, slow: 800 * time.Millisecond, cycle: 40 * time.Second, sick: 10 * time.Second}

// StartOrigins starts apple, banana and cherry on the addresses, or, where one is taken, on a free port of its host.
// Close ends each.
func StartOrigins(addresses [3]string) ([]*Origin, error) {
	var origins []*Origin
	for i, name := range [3]string{"apple", "banana", "cherry"} {
		o := &Origin{Name: name, began: time.Now(), served: make(chan error, 1)}
		if name == "cherry" {
			o.ills = unwell
		}
		if err := o.start(addresses[i]); err != nil {
			for _, started := range origins {
				started.Close()
			}
			return nil, fmt.Errorf("starting the upstream %s: %w", name, err)
		}
		origins = append(origins, o)
	}
	return origins, nil
}

func (o *Origin) start(address string) error {
	ln, err := net.Listen("tcp", address)
	if err != nil {
		// Nobody types the ports of the upstreams, so that any will do.
		host, _, cut := net.SplitHostPort(address)
		if cut != nil {
			return err
		}
		if ln, err = net.Listen("tcp", net.JoinHostPort(host, "0")); err != nil {
			return err
		}
	}
	o.Address = ln.Addr().String()
	// No write timeout: slow is one of the things it is for. Its one client is the gateway.
	o.server = &http.Server{Handler: o, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute}
	go func() { o.served <- o.server.Serve(ln) }()
	return nil
}

// Close ends the origin at once, whatever it is doing.
func (o *Origin) Close() error {
	closed := o.server.Close()
	if err := <-o.served; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return closed
}

// ServeHTTP implements http.Handler.
func (o *Origin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	sick := o.sickAt(time.Since(o.began))
	if r.URL.Path == "/healthz" {
		if sick {
			http.Error(w, "having a rest", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "fine")
		return
	}
	if sick || o.ills.failing {
		if !o.suffer(w, r, sick) {
			return
		}
	}
	w.Header().Set("X-Upstream", o.Name)
	fmt.Fprintf(w, "%s %s, answered by %s\n", r.Method, r.URL.RequestURI(), o.Name)
	for _, name := range []string{"X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Env", "Via"} {
		if value := r.Header.Get(name); value != "" {
			fmt.Fprintf(w, "  %s: %s\n", name, value)
		}
	}
}

// suffer does what an unwell server does, and reports whether an answer is still to be given.
func (o *Origin) suffer(w http.ResponseWriter, r *http.Request, sick bool) (answer bool) {
	turn := o.requests.Add(1) % 5
	switch {
	case sick || turn == 1:
		http.Error(w, o.Name+" is unwell", http.StatusInternalServerError)
		return false
	case turn == 3:
		panic(http.ErrAbortHandler) // the way net/http closes a connection without an answer
	case turn == 4:
		return wait(r.Context(), o.ills.slow)
	}
	return true
}

// wait lets time pass, unless the client goes first.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// sickAt tells the last part of each cycle from the rest.
func (o *Origin) sickAt(age time.Duration) bool {
	return o.ills.cycle > 0 && age%o.ills.cycle >= o.ills.cycle-o.ills.sick
}
