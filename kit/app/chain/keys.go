package chain

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// keySet are the keys of an issuer at one time. Frozen.
type keySet struct {
	generation uint64 // differs where the keys do
	text       [32]byte
	read       time.Time
	list       []jose.JSONWebKey
	secret     []byte
}

const (
	setBytesMax = 1 << 20 // a hundred RSA keys with their certificates take 400 kB
	keysMax     = 100
	// namelessMax is how many keys are tried for a token that does not name its own: each costs a verification.
	namelessMax = 4
	retryAfter  = 30 * time.Second // of keys that are not known: strangers make these names up
	retryFirst  = time.Second      // while there are none at all
	fetchMax    = 5 * time.Second
)

// of are the keys that a token may be signed with.
func (k *keySet) of(kid, algorithm string) (keys []any) {
	if k.secret != nil {
		return []any{k.secret}
	}
	for i := range k.list {
		key := &k.list[i]
		if (kid == key.KeyID || kid == "" || key.KeyID == "") && (key.Algorithm == "" || key.Algorithm == algorithm) {
			keys = append(keys, key.Key)
		}
	}
	if len(keys) > namelessMax {
		return nil
	}
	return keys
}

func (k *keySet) has(kid string) bool {
	if k.secret != nil || kid == "" {
		return true
	}
	for i := range k.list {
		if k.list[i].KeyID == kid || k.list[i].KeyID == "" {
			return true
		}
	}
	return false
}

// parseKeys reads a JWK set. Keys of kinds that we do not know are passed over (RFC 7517, section 5); one without any that can be
// used is an error, so that an issuer's mishap does not take those away that are in force.
func parseKeys(text []byte) (*keySet, error) {
	if len(text) > setBytesMax {
		return nil, fmt.Errorf("it has more than %d bytes", setBytesMax)
	}
	var raw struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(text, &raw); err != nil {
		return nil, fmt.Errorf("it is no key set: %w", err)
	}
	if len(raw.Keys) > keysMax {
		return nil, fmt.Errorf("it has %d keys, more than %d", len(raw.Keys), keysMax)
	}
	set := &keySet{text: sha256.Sum256(text)}
	for _, one := range raw.Keys {
		var key jose.JSONWebKey
		if err := key.UnmarshalJSON(one); err != nil || !key.Valid() || key.Use != "" && key.Use != "sig" {
			continue
		}
		if _, secret := key.Key.([]byte); secret || !key.IsPublic() {
			continue // what is published is no secret
		}
		set.list = append(set.list, key)
	}
	if len(set.list) == 0 {
		return nil, errors.New("it has no public key that can be used")
	}
	return set, nil
}

// keySource has the keys at hand.
type keySource struct {
	fixed   *keySet // or nil, and then:
	url     string
	client  *http.Client
	refresh time.Duration
	log     *slog.Logger
	now     func() time.Time
	at      atomic.Pointer[keySet] // nil: none were had yet

	mu struct {
		sync.Mutex
		flight *flight // under way; nil: none
		tried  time.Time
		failed error // of the last try
	}
}

// flight is a fetch that many may wait for.
type flight struct {
	done chan struct{}
	err  error
}

func newKeySource(cfg *JWTConfig, now func() time.Time) (*keySource, error) {
	if cfg.Secret != nil {
		return &keySource{fixed: &keySet{secret: append([]byte(nil), cfg.Secret...)}}, nil
	}
	if cfg.Keys != nil {
		set, err := parseKeys(cfg.Keys)
		if err != nil {
			return nil, err
		}
		return &keySource{fixed: set}, nil
	}
	u, err := url.Parse(cfg.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("%q is not like https://issuer.example/keys", cfg.URL)
	}
	s := &keySource{url: cfg.URL, client: cfg.Client, refresh: cfg.Refresh, log: cfg.Logger, now: now}
	if s.client == nil {
		s.client = &http.Client{Timeout: fetchMax, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	}
	if s.log == nil {
		s.log = slog.Default()
	}
	return s, nil
}

// keys returns those at hand, with one of the name kid if the issuer has it.
func (s *keySource) keys(ctx context.Context, kid string) (*keySet, error) {
	if s.fixed != nil {
		return s.fixed, nil
	}
	set := s.at.Load()
	now := s.now()
	if set != nil && set.has(kid) && now.Sub(set.read) < s.refresh {
		return set, nil
	}
	f, err := s.fetch(now, set)
	if set != nil && (f == nil || set.has(kid)) {
		return set, nil // what there is will do, whatever becomes of the fetch
	}
	if f == nil {
		return nil, err
	}
	select {
	case <-f.done:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if set = s.at.Load(); set != nil {
		return set, nil
	}
	return nil, f.err
}

// fetch returns the fetch that is under way, and begins one unless the last is too short a time ago.
func (s *keySource) fetch(now time.Time, set *keySet) (*flight, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.flight != nil {
		return s.mu.flight, nil
	}
	pause := retryAfter
	if set == nil {
		pause = retryFirst
	}
	if !s.mu.tried.IsZero() && now.Sub(s.mu.tried) < pause {
		return nil, s.mu.failed
	}
	s.mu.tried = now
	f := &flight{done: make(chan struct{})}
	s.mu.flight = f
	go s.fly(f, set)
	return f, nil
}

func (s *keySource) fly(f *flight, was *keySet) {
	ctx, cancel := context.WithTimeout(context.Background(), fetchMax)
	defer cancel()
	set, err := s.get(ctx)
	if err == nil {
		set.read = s.now()
		switch {
		case was == nil:
			set.generation = 1
		case was.text == set.text:
			set.generation = was.generation
		default:
			set.generation = was.generation + 1
		}
		s.at.Store(set)
	}
	s.mu.Lock()
	before := s.mu.failed
	s.mu.failed, s.mu.flight = err, nil
	s.mu.Unlock()
	f.err = err
	close(f.done)
	switch {
	case err != nil && before == nil:
		s.log.Warn("the issuer's keys cannot be fetched", "url", s.url, "error", err)
	case err == nil && before != nil:
		s.log.Info("the issuer's keys can be fetched again", "url", s.url)
	}
}

func (s *keySource) get(ctx context.Context) (*keySet, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := s.client.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the issuer's keys: status %d", resp.StatusCode)
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, setBytesMax+1))
	if err != nil {
		return nil, err
	}
	return parseKeys(text)
}

// mark is how a token is remembered: who reads the memory of the process does not find tokens there.
type mark [sha256.Size]byte

func markOf(token string) mark { return sha256.Sum256([]byte(token)) }

// known is a token that was verified.
type known struct {
	principal  *Principal
	expires    time.Time
	generation uint64 // of the keys
}

// tokens are those that were verified. Strangers cannot add to them, so that what is pushed out is pushed out by callers.
type tokens struct {
	most   int
	shards [16]struct {
		sync.RWMutex
		m map[mark]known
	}
}

func (t *tokens) init(most int) {
	t.most = max(1, most/len(t.shards))
	for i := range t.shards {
		t.shards[i].m = map[mark]known{}
	}
}

func (t *tokens) find(m mark, now time.Time, generation uint64) *Principal {
	s := &t.shards[m[0]%uint8(len(t.shards))]
	s.RLock()
	k, ok := s.m[m]
	s.RUnlock()
	if !ok || k.generation != generation || !now.Before(k.expires) {
		return nil
	}
	return k.principal
}

func (t *tokens) add(m mark, k known) {
	s := &t.shards[m[0]%uint8(len(t.shards))]
	s.Lock()
	defer s.Unlock()
	if len(s.m) >= t.most {
		for other := range s.m { // any: Go begins somewhere each time
			delete(s.m, other)
			break
		}
	}
	s.m[m] = k
}
