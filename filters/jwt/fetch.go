package jwt

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/yumen-io/yumen/internal/mono"
)

const (
	// refreshMin is the shortest time between two fetches that nothing calls for, whatever an issuer's Cache-Control says.
	refreshMin = 30 * time.Second
	// fileRefresh is how often a file is looked at. Replaced files are in force soon, and reading one costs nothing.
	fileRefresh = 5 * time.Second
	// retryMin and retryMax are the pauses after fetches that failed; they double in between.
	retryMin = time.Second
	retryMax = 30 * time.Second
	// redirectsMax bounds the places an issuer may send us to.
	redirectsMax = 3
	// answerHeadMax bounds the head of an issuer's answer.
	answerHeadMax = 64 << 10
)

// Fetch is where keys come from, and how they are kept fresh.
type Fetch struct {
	URL  string // of a JWK set; https, or http to this machine
	CA   string // file with the authorities that the issuer's certificate is from; empty: those of the system
	File string // a JWK set, or PEM; in place of URL
	// Secret says that File holds the secret of an HMAC, and how it is written.
	Secret SecretForm

	Refresh time.Duration // the longest time between two fetches; 0: 5 m
	Timeout time.Duration // of one fetch; 0: 5 s
	Stale   time.Duration // how long keys are used after the last fetch that went well; 0: 24 h
	// AskEvery is the time in which a token with an unknown key causes one fetch at most; 0: 10 s.
	AskEvery time.Duration
}

// SecretForm is how a secret is written in a file.
type SecretForm uint8

// The forms.
const (
	NoSecret SecretForm = iota // what is in the file are public keys, or a key set
	PlainSecret
	Base64Secret
)

func (f Fetch) withDefaults() Fetch {
	set := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	set(&f.Refresh, 5*time.Minute)
	set(&f.Timeout, 5*time.Second)
	set(&f.Stale, 24*time.Hour)
	set(&f.AskEvery, 10*time.Second)
	return f
}

// from is where the keys come from, as people write it.
func (f Fetch) from() string {
	if f.File != "" {
		return f.File
	}
	return f.URL
}

// Fetcher keeps a Keys fresh. It is started and closed by the gateway's memory; its state may be asked for by anybody.
type Fetcher struct {
	counter
	spec   Fetch
	keys   *Keys
	logger *slog.Logger
	clock  func() mono.Time
	wall   func() time.Time
	jitter func() float64 // from 0 to 1

	// Of Start and Close.
	cancel context.CancelFunc
	done   chan struct{}
	kick   chan struct{}

	// Of the goroutine that fetches.
	body []byte // of the answer that the keys in force are from
	etag string

	state struct {
		sync.Mutex
		State
		due mono.Time
	}
	failing atomic.Bool // the last fetch failed; for loops, which take no lock
}

// State is how it stands with the keys of a source.
type State struct {
	From     string    // the URL or the file
	Keys     int       // in force
	Fetched  time.Time // when a fetch last went well; zero: never
	Failures int       // since then
	Error    string    // of the last fetch, if it failed
}

// newFetcher does nothing yet.
func newFetcher(spec Fetch, keys *Keys, logger *slog.Logger) *Fetcher {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	f := &Fetcher{spec: spec, keys: keys, logger: logger, clock: mono.Now, wall: time.Now, jitter: rand.Float64, kick: make(chan struct{}, 1)}
	f.every = spec.AskEvery
	f.state.From = spec.from()
	return f
}

// Start begins with a fetch.
func (f *Fetcher) Start() {
	ctx, cancel := context.WithCancel(context.Background())
	f.cancel, f.done = cancel, make(chan struct{})
	f.open()
	f.begin() // those who come before the goroutine runs wait for its first fetch
	go f.run(ctx)
}

// Close ends the goroutine and waits for it. Those who wait for keys are woken.
func (f *Fetcher) Close() {
	f.cancel()
	<-f.done
	f.shut()
}

// Tick has a fetch begun when it is time for one.
func (f *Fetcher) Tick(now mono.Time, _ time.Time) {
	f.state.Lock()
	due := f.state.due
	f.state.Unlock()
	if due != 0 && now >= due {
		f.wakeUp()
	}
}

func (f *Fetcher) wakeUp() {
	select {
	case f.kick <- struct{}{}:
	default: // it is about to begin anyway
	}
}

// wait has wake called after the next fetch, which it causes if none is under way.
func (f *Fetcher) wait(wake func()) {
	if f.join(wake) {
		f.wakeUp()
	}
}

// State returns how it stands.
func (f *Fetcher) State() State {
	f.state.Lock()
	s := f.state.State
	f.state.Unlock()
	if set := f.keys.current(f.clock()); set != nil {
		s.Keys = len(set.keys)
	}
	return s
}

func (f *Fetcher) run(ctx context.Context) {
	defer close(f.done)
	for {
		f.begin()
		select {
		case <-f.kick: // from one more who came before this fetch, and waits for it
		default:
		}
		f.once(ctx)
		f.end()
		select {
		case <-ctx.Done():
			return
		case <-f.kick:
		}
	}
}

// once fetches, puts in force what came, and says when it is time again.
func (f *Fetcher) once(ctx context.Context) {
	got, err := f.get(ctx)
	if ctx.Err() != nil {
		return
	}
	now := f.clock()
	if err == nil {
		err = f.take(got, now)
	}
	f.state.Lock()
	defer f.state.Unlock()
	f.failing.Store(err != nil)
	if err != nil {
		f.failed(err, now)
		return
	}
	if f.state.Failures > 0 {
		f.logger.Info("keys of tokens can be had again", "from", f.state.From, "after_failures", f.state.Failures)
	}
	f.state.Failures, f.state.Error, f.state.Fetched = 0, "", f.wall()
	f.state.due = now.Add(f.pause(got.maxAge))
}

// failed notes a fetch that brought nothing. The state is locked.
func (f *Fetcher) failed(err error, now mono.Time) {
	s := &f.state
	if text := err.Error(); s.Failures == 0 || text != s.Error {
		if f.keys.current(now) != nil {
			f.logger.Warn("keys of tokens cannot be had, those there are stay in force", "from", s.From, "error", text)
		} else {
			f.logger.Error("keys of tokens cannot be had, and there are none: tokens are answered with 503", "from", s.From, "error", text)
		}
		s.Error = text
	}
	s.Failures++
	pause := min(retryMin<<min(s.Failures-1, 10), retryMax, f.spec.Refresh)
	s.due = now.Add(pause + time.Duration(f.jitter()*float64(pause)/4))
}

// pause is the time until the next fetch: what the issuer says of how long its answer is good, within bounds, and spread a
// little so that gateways that were started together do not come together.
func (f *Fetcher) pause(maxAge time.Duration) time.Duration {
	pause := f.spec.Refresh
	switch {
	case f.spec.File != "":
		return fileRefresh
	case maxAge >= 0:
		pause = min(max(maxAge, refreshMin), pause)
	}
	return pause - time.Duration(f.jitter()*float64(pause)/10)
}

// answer is what a fetch brought.
type answer struct {
	body   []byte
	etag   string
	same   bool          // nothing has changed (304)
	maxAge time.Duration // below 0: not said
}

// take puts what came in force.
func (f *Fetcher) take(got answer, now mono.Time) error {
	until := f.goodUntil(now)
	switch {
	case got.same && (f.body == nil || !f.keys.prolong(until)):
		return errors.New("it says that nothing has changed, and nothing was had before")
	case got.same:
		return nil
	case f.body != nil && bytes.Equal(got.body, f.body) && f.keys.prolong(until):
		f.etag = got.etag
		return nil
	}
	list, skipped, err := f.parse(got.body)
	if err != nil {
		return err
	}
	if f.keys.replace(list, until) {
		var kids []string
		for _, k := range list {
			kids = append(kids, k.kid)
		}
		f.logger.Info("keys of tokens are in force", "from", f.spec.from(), "keys", len(list), "kids", kids)
	}
	if len(skipped) > 0 {
		f.logger.Warn("keys of tokens that cannot be used are passed over", "from", f.spec.from(), "first", skipped[0], "number", len(skipped))
	}
	f.body, f.etag = got.body, got.etag
	return nil
}

func (f *Fetcher) parse(text []byte) (list []*Key, skipped []string, err error) {
	switch f.spec.Secret {
	case PlainSecret:
		list, err = ParseSecret(bytes.TrimRight(text, "\r\n"))
		return list, nil, err
	case Base64Secret:
		if text, err = DecodeSecret(text); err == nil {
			list, err = ParseSecret(text)
		}
		return list, nil, err
	}
	if f.spec.File != "" && !bytes.HasPrefix(bytes.TrimLeft(text, " \t\r\n"), []byte{'{'}) {
		list, err = ParsePEM(text)
		return list, nil, err
	}
	set, err := ParseSet(text, f.spec.File != "")
	if err != nil {
		return nil, nil, err
	}
	return set.Keys, set.Skipped, nil
}

// goodUntil is how long keys that came now may be used. Those of a file may be for good: what it says is near, and was meant.
func (f *Fetcher) goodUntil(now mono.Time) mono.Time {
	if f.spec.File != "" {
		return mono.Never
	}
	return now.Add(f.spec.Stale)
}

// first reads a file before the fetcher is started, so that a mistake in it is one of the document that names it.
func (f *Fetcher) first() error {
	got, err := f.get(context.Background())
	if err != nil {
		return err
	}
	list, _, err := f.parse(got.body)
	if err != nil {
		return fmt.Errorf("%s: %w", f.spec.File, err)
	}
	f.keys.replace(list, f.goodUntil(f.clock()))
	return nil
}

func (f *Fetcher) get(ctx context.Context) (answer, error) {
	if f.spec.File != "" {
		file, err := os.Open(f.spec.File)
		if err != nil {
			return answer{}, err
		}
		defer file.Close()
		body, err := readAll(file)
		return answer{body: body, maxAge: -1}, err
	}
	ctx, cancel := context.WithTimeout(ctx, f.spec.Timeout)
	defer cancel()
	client, err := f.client()
	if err != nil {
		return answer{}, err
	}
	defer client.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, f.spec.URL, nil)
	if err != nil {
		return answer{}, err
	}
	request.Header.Set("Accept", "application/jwk-set+json, application/json")
	request.Header.Set("User-Agent", "yumen")
	if f.etag != "" && f.body != nil {
		request.Header.Set("If-None-Match", f.etag)
	}
	response, err := client.Do(request)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	got := answer{etag: response.Header.Get("Etag"), maxAge: maxAge(response.Header.Get("Cache-Control"))}
	switch {
	case response.StatusCode == http.StatusNotModified:
		got.same = true
		return got, nil
	case response.StatusCode != http.StatusOK:
		return answer{}, fmt.Errorf("it answers with status %d", response.StatusCode)
	}
	got.body, err = readAll(response.Body)
	return got, err
}

func readAll(r io.Reader) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r, setBytesMax+1))
	if err == nil && len(body) > setBytesMax {
		err = fmt.Errorf("it has more than %d bytes", setBytesMax)
	}
	return body, err
}

// client is made for each fetch: they are minutes apart, and the file with the authorities may have changed.
func (f *Fetcher) client() (*http.Client, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if f.spec.CA != "" {
		text, err := os.ReadFile(f.spec.CA)
		if err != nil {
			return nil, err
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("%s holds no certificate", f.spec.CA)
		}
	}
	return &http.Client{
		Transport: &http.Transport{
			TLSClientConfig: cfg, DisableKeepAlives: true, DisableCompression: true, MaxResponseHeaderBytes: answerHeadMax, ForceAttemptHTTP2: true,
		},
		CheckRedirect: func(r *http.Request, via []*http.Request) error {
			if len(via) > redirectsMax {
				return errors.New("it redirects too often")
			}
			cause, _ := CheckURL(r.URL.String())
			if cause != "" {
				return errors.New("it redirects to where keys cannot be had: " + cause)
			}
			return nil
		},
	}, nil
}

// CheckURL says why keys cannot be had from a URL, and what to write instead. Plain HTTP is for this machine only: whoever can
// change the answer on its way signs tokens.
func CheckURL(s string) (cause, fix string) {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.Fragment != "":
		return strconv.Quote(s) + " is no URL of a key set", "write one such as https://idp.example/.well-known/jwks.json"
	case u.Scheme == "https":
		return "", ""
	case u.Scheme != "http":
		return "keys cannot be had by " + strconv.Quote(u.Scheme), "write an https URL"
	}
	host := u.Hostname()
	if addr, err := netip.ParseAddr(host); host == "localhost" || err == nil && addr.IsLoopback() {
		return "", ""
	}
	return "keys from " + host + " would come by plain HTTP, and whoever changes them on their way can sign tokens", "write https://, or use file"
}

// maxAge reads how long an answer is good (RFC 9111 section 5.2.2), below 0 if it does not say.
func maxAge(control string) time.Duration {
	age := time.Duration(-1)
	for part := range strings.SplitSeq(control, ",") {
		name, value, _ := strings.Cut(strings.ToLower(strings.TrimSpace(part)), "=")
		switch name {
		case "no-store", "no-cache":
			return 0
		case "max-age":
			if n, err := strconv.ParseUint(strings.Trim(value, `"`), 10, 31); err == nil {
				age = time.Duration(n) * time.Second
			}
		}
	}
	return age
}
