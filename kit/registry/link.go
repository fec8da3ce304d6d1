package registry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	grpcbackoff "google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/status"
)

// link keeps a session with one member of etcd, for ever: whenever one ends, for whatever reason, the next is opened with
// a new client, by the next endpoint. Nothing of an old client is used again, neither its token nor its view of who
// answers; this is what lets it come back from everything.
//
// One member at a time, and not the client's own balancing over all: a member that is frozen keeps its connection, so the
// balancer would choose it again, and revisions can be compared only if one member says them.
type link struct {
	cfg    *Config
	logger *slog.Logger
	stats  *counters

	mu struct {
		sync.Mutex
		session *session      // nil while there is none
		changed chan struct{} // closed when session changes
		err     error         // why the last attempt failed; nil with a session
	}
}

// session is a client of one endpoint that has answered. It ends once, by fail, and ctx then says why.
type session struct {
	ctx      context.Context
	fail     context.CancelCauseFunc
	client   *clientv3.Client
	endpoint string
	watchers atomic.Int32 // watches that are open

	opened       time.Time
	usual, young time.Duration // how long a request may take, and while the session is young
}

// patience is how long a request may take now. An etcd that thousands come back to is slow; if all of them gave up on it
// after the usual time and began again, it would stay slow. So after attempts that ran out of time the next session has
// more of it, until it has lasted for a while.
func (s *session) patience() time.Duration {
	if time.Since(s.opened) < youngFor*s.young {
		return s.young
	}
	return s.usual
}

const (
	// patienceMax is how many times the usual time a request may take at most.
	patienceMax = 4
	// youngFor is how many such requests a session stays young.
	youngFor = 2
)

var (
	errSilent       = errors.New("a watch was silent")
	errDisconnected = errors.New("the connection was lost")
)

func newLink(cfg *Config, stats *counters) *link {
	l := &link{cfg: cfg, logger: cfg.Logger, stats: stats}
	l.mu.changed = make(chan struct{})
	return l
}

// run holds sessions until ctx ends.
func (l *link) run(ctx context.Context) {
	endpoints := l.cfg.Endpoints
	at := rand.IntN(len(endpoints))
	wait := backoff{min: l.cfg.BackoffMin, max: l.cfg.BackoffMax}
	down := false
	timeouts := 0
	for failures := 0; ctx.Err() == nil; at = (at + 1) % len(endpoints) {
		s, err := l.open(ctx, endpoints[at], time.Duration(min(1+timeouts/len(endpoints), patienceMax))*l.cfg.RequestTimeout)
		if err == nil {
			if down {
				l.logger.LogAttrs(ctx, slog.LevelInfo, "etcd answers again", slog.String("endpoint", s.endpoint))
				down = false
			}
			err = l.hold(ctx, s)
			if time.Since(s.opened) > max(l.cfg.BackoffMax, youngFor*s.young) {
				wait.reset()
				failures, timeouts = 0, 0
			}
		}
		if ctx.Err() != nil {
			return
		}
		l.stats.sessionFailures.Add(1)
		if isTimeout(err) {
			timeouts++
		}
		if isAuth(err) {
			l.stats.authFailures.Add(1)
		}
		l.publish(nil, err)
		if failures++; failures%len(endpoints) != 0 {
			continue // the others first, at once
		}
		if !down {
			l.logger.LogAttrs(ctx, slog.LevelWarn, "etcd does not answer", slog.Any("error", err))
			down = true
		}
		pause(ctx, wait.next(rand.Int64N))
	}
}

// open makes a client and asks it something that needs a leader.
func (l *link) open(ctx context.Context, endpoint string, patience time.Duration) (*session, error) {
	sctx, fail := context.WithCancelCause(ctx)
	client, err := clientv3.New(clientv3.Config{
		Endpoints:   []string{endpoint},
		TLS:         l.cfg.TLS,
		Username:    l.cfg.Username,
		Password:    l.cfg.Password,
		Context:     sctx,
		DialTimeout: patience,
		// The second line behind silence of watches and timeouts of requests: pings of HTTP/2, no more often than etcd allows.
		DialKeepAliveTime:    10 * time.Second,
		DialKeepAliveTimeout: l.cfg.RequestTimeout,
		// Twice, so that the client can renew a token that has expired; all other patience is here.
		MaxUnaryRetries: 2,
		// A login waits for the connection, and gRPC's own pauses between attempts grow up to two minutes.
		DialOptions: []grpc.DialOption{grpc.WithConnectParams(grpc.ConnectParams{MinConnectTimeout: l.cfg.RequestTimeout,
			Backoff: grpcbackoff.Config{BaseDelay: l.cfg.BackoffMin, Multiplier: 2, Jitter: 0.5, MaxDelay: l.cfg.BackoffMax / 4}})},
		Logger: zap.NewNop(), // what matters of it comes as an error
	})
	if err != nil {
		fail(err)
		return nil, fmt.Errorf("registry: connect to %s: %w", endpoint, err)
	}
	s := &session{ctx: sctx, fail: fail, client: client, endpoint: endpoint, usual: l.cfg.RequestTimeout, young: patience}
	rctx, cancel := context.WithTimeout(sctx, patience)
	defer cancel()
	// Not by client.Get, which would wait for a connection that is refused until the time is over, and not say why.
	_, err = pb.NewKVClient(client.ActiveConnection()).Range(rctx, &pb.RangeRequest{Key: []byte(l.cfg.Prefix + servicesPart), CountOnly: true})
	err = rpctypes.Error(err)
	if err == nil || errors.Is(err, rpctypes.ErrPermissionDenied) {
		// Who may not read this key may still read others; it was a member with a leader who said so.
		s.opened = time.Now()
		return s, nil
	}
	fail(err)
	_ = client.Close() // says only that its context has ended
	return nil, fmt.Errorf("registry: ask %s: %w", endpoint, err)
}

// hold offers s to all until it fails, and says why it did.
func (l *link) hold(ctx context.Context, s *session) error {
	l.stats.sessions.Add(1)
	var tasks sync.WaitGroup
	tasks.Go(s.observe)
	tasks.Go(func() { s.prod(silenceMax(s.usual) / 3) })
	l.publish(s, nil)
	<-s.ctx.Done()
	err := context.Cause(s.ctx)
	if ctx.Err() == nil {
		// Before it is closed, so that nobody takes it meanwhile.
		l.publish(nil, err)
	}
	_ = s.client.Close()
	tasks.Wait()
	return fmt.Errorf("registry: session with %s: %w", s.endpoint, err)
}

// observe ends the session when its connection is lost, which is known at once if the other side was killed.
func (s *session) observe() {
	conn := s.client.ActiveConnection()
	for {
		state := conn.GetState()
		if state != connectivity.Ready {
			s.fail(errDisconnected)
			return
		}
		if !conn.WaitForStateChange(s.ctx, state) {
			return
		}
	}
}

// prod asks for the progress of all watches again and again. The answers tell them that the member lives and which
// revision it has; no answer is silence, and who watches ends the session.
func (s *session) prod(every time.Duration) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	ctx := clientv3.WithRequireLeader(s.ctx)
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-ticker.C:
			if s.watchers.Load() > 0 {
				// It fails only when the session ends; until the member takes the request it waits, and that is silence.
				_ = s.client.RequestProgress(ctx)
			}
		}
	}
}

func (l *link) publish(s *session, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.err = err
	if l.mu.session != s {
		l.mu.session = s
		close(l.mu.changed)
		l.mu.changed = make(chan struct{})
	}
}

// session waits for one that has not failed. The error is that of ctx.
func (l *link) session(ctx context.Context) (*session, error) {
	for {
		l.mu.Lock()
		s, changed := l.mu.session, l.mu.changed
		l.mu.Unlock()
		if s != nil && s.ctx.Err() == nil {
			return s, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-changed:
		}
	}
}

// trouble is the endpoint in use, or why there is none.
func (l *link) trouble() (endpoint string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.session != nil {
		return l.mu.session.endpoint, nil
	}
	return "", l.mu.err
}

// isAuth tells errors that a new login may mend.
func isAuth(err error) bool {
	for _, e := range [...]error{rpctypes.ErrUserEmpty, rpctypes.ErrAuthFailed, rpctypes.ErrInvalidAuthToken,
		rpctypes.ErrAuthOldRevision} {
		if errors.Is(err, e) {
			return true
		}
	}
	return codeOf(err) == codes.Unauthenticated
}

func isTimeout(err error) bool {
	return errors.Is(err, errSilent) || errors.Is(err, context.DeadlineExceeded) || codeOf(err) == codes.DeadlineExceeded
}

// endsSession tells errors after which another session, perhaps with another member, is the way on. The others are about
// the request: the quota is used up, the user may not write this key. They must not take the session from all the rest.
// Errors of our own, such as errSilent, have no code, which is Unknown.
func endsSession(err error) bool {
	if isAuth(err) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return true
	}
	switch codeOf(err) {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled, codes.Internal, codes.Unknown, codes.Unauthenticated:
		return true
	}
	return false
}

func codeOf(err error) codes.Code {
	var e rpctypes.EtcdError
	if errors.As(err, &e) {
		return e.Code()
	}
	return status.Code(err)
}

// pause waits for d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
