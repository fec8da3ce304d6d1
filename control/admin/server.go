package admin

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/yumen-io/yumen/control"
)

// Bounds of the server.
const (
	// headTimeout and idleTimeout are for scrapers and people, who are near and few.
	headTimeout = 10 * time.Second
	idleTimeout = 2 * time.Minute
	// bodyTimeout lets the largest document arrive over a slow line.
	bodyTimeout = time.Minute
	// answerTimeout is for all but profiles: the largest answer, a hundred thousand routes, to a slow reader.
	answerTimeout = 2 * time.Minute
	// profileTimeout bounds what ?seconds= can ask for, and with it how long a profile may cost the gateway.
	profileTimeout = 6 * time.Minute
	// headBytesMax is enough for any browser's fields.
	headBytesMax = 32 << 10
	// configBytesMax is what control/config reads at most.
	configBytesMax = 64 << 20
)

// Server is the admin API of one gateway. Its methods may be called from any goroutine.
type Server struct {
	controller *control.Controller
	version    string
	started    time.Time
	logger     *slog.Logger
	http       *http.Server
}

// Config says what a Server is for.
type Config struct {
	Controller *control.Controller
	Address    string       // as configured: host:port, where the host may be empty; decides which Host is believed
	Version    string       // of the program
	Started    time.Time    // the process
	Logger     *slog.Logger // told of orders and of mistakes; nil tells nobody
}

// New returns a server that does not listen yet.
func New(c Config) *Server {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{controller: c.Controller, version: c.Version, started: c.Started, logger: c.Logger}
	s.http = &http.Server{
		Handler:           deadline(newGuard(c.Address, costly, s.routes())),
		ReadHeaderTimeout: headTimeout,
		ReadTimeout:       bodyTimeout,
		WriteTimeout:      profileTimeout, // shortened for what is no profile; pprof reads it
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    headBytesMax,
		ErrorLog:          slog.NewLogLogger(c.Logger.Handler(), slog.LevelWarn),
	}
	return s
}

// deadline gives everything but profiles its shorter time, and every answer what keeps a browser from guessing.
func deadline(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("X-Frame-Options", "DENY")
		w.Header().Set("Cache-Control", "no-store")
		if !costly(r.URL.Path) {
			// Fails only where there is no connection to set it on, in tests.
			_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(answerTimeout))
		}
		next.ServeHTTP(w, r)
	})
}

// Handler is the API without a listener.
func (s *Server) Handler() http.Handler { return s.http.Handler }

// Serve answers on a listener, which it closes, until Shutdown; it then returns http.ErrServerClosed.
func (s *Server) Serve(ln net.Listener) error { return s.http.Serve(&crowd{Listener: ln}) }

// Shutdown closes the listener and waits for answers under way, at most until ctx ends; then it cuts them off.
func (s *Server) Shutdown(ctx context.Context) error {
	if err := s.http.Shutdown(ctx); err != nil {
		return s.http.Close()
	}
	return nil
}
