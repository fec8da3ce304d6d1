package compile

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync"
	"time"

	"github.com/yumen-io/yumen/control/certs"
	"github.com/yumen-io/yumen/control/config"
	"github.com/yumen-io/yumen/control/file"
)

// redisFiles are the files by which a Redis is met with TLS. They are read when a document is compiled, and again for each connection,
// which is made on a goroutine: so authorities and certificates can be renewed without a change of the document. They are not
// watched, since a connection that was made by older ones stays, and the next one reads them anyway.
type redisFiles struct {
	// Frozen.
	said config.RedisTLS
	host string

	mu struct {
		sync.Mutex
		texts   redisTexts
		last    *tls.Config // by the texts
		trouble string      // why the files cannot be used now; empty: they can
	}
}

// redisTexts are what the files hold, nil for those that are not named.
type redisTexts struct{ ca, cert, key []byte }

// check judges the files as those of clusters are judged, and reads them. What has expired is told by those who connect, since
// a configuration that is in force with it must be able to change otherwise.
func (f *redisFiles) check() *redisProblem {
	now := time.Now()
	isFault := func(err error) bool {
		return err != nil && !errors.Is(err, certs.ErrExpired) && !errors.Is(err, certs.ErrNotYetValid)
	}
	if f.said.CA != "" {
		if _, err := certs.LoadBundle(f.said.CA, now); isFault(err) {
			return redisFileProblem("tls.ca", err)
		}
	}
	if f.said.Cert != "" {
		if _, err := certs.Load(certs.Pair{Cert: f.said.Cert, Key: f.said.Key, Client: true}, now); isFault(err) {
			return redisFileProblem("tls.cert", err)
		}
	}
	texts, err := f.read()
	if err == nil {
		f.mu.last, err = f.build(texts)
	}
	if err != nil {
		return redisFileProblem("tls", err)
	}
	f.mu.texts = texts
	return nil
}

func redisFileProblem(field string, err error) *redisProblem {
	p := &redisProblem{field: field, cause: err.Error(), fix: "put another file there, or correct the path"}
	if errors.Is(err, fs.ErrNotExist) {
		p.fix = "where a path does not begin with a slash, it is looked for in the directory the gateway is started in"
	}
	return p
}

// name tells these files, as they are now, from others: a change of the document after a change of the files has another link, which
// was verified by what they hold.
func (f *redisFiles) name() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	sum := sha256.New()
	for _, text := range [][]byte{[]byte(cmp.Or(f.said.SNI, f.host)), f.mu.texts.ca, f.mu.texts.cert, f.mu.texts.key} {
		one := sha256.Sum256(text)
		sum.Write(one[:])
	}
	return hex.EncodeToString(sum.Sum(nil)[:16])
}

func (f *redisFiles) read() (t redisTexts, err error) {
	for _, one := range []struct {
		path string
		text *[]byte
	}{{f.said.CA, &t.ca}, {f.said.Cert, &t.cert}, {f.said.Key, &t.key}} {
		if one.path == "" {
			continue
		}
		if *one.text, err = file.Read(one.path); err != nil {
			return redisTexts{}, err
		}
	}
	return t, nil
}

func (f *redisFiles) build(t redisTexts) (*tls.Config, error) {
	cfg := &tls.Config{ServerName: cmp.Or(f.said.SNI, f.host), MinVersion: tls.VersionTLS12}
	if t.ca != nil {
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(t.ca) {
			return nil, fmt.Errorf("%s holds no certificate", f.said.CA)
		}
	}
	if t.cert != nil {
		own, err := tls.X509KeyPair(t.cert, t.key)
		if err != nil {
			return nil, fmt.Errorf("%s and %s: %w", f.said.Cert, f.said.Key, err)
		}
		cfg.Certificates = []tls.Certificate{own}
	}
	return cfg, nil
}

// config returns the TLS of a new connection: by the files as they are now, or as they were when they could be used last. From any
// goroutine that may read files.
func (f *redisFiles) config() *tls.Config {
	f.mu.Lock()
	defer f.mu.Unlock()
	texts, err := f.read()
	if err == nil && bytes.Equal(texts.ca, f.mu.texts.ca) && bytes.Equal(texts.cert, f.mu.texts.cert) && bytes.Equal(texts.key, f.mu.texts.key) {
		f.mu.trouble = ""
		return f.mu.last
	}
	var cfg *tls.Config
	if err == nil {
		cfg, err = f.build(texts)
	}
	if err != nil {
		if f.mu.trouble != err.Error() {
			f.mu.trouble = err.Error()
			slog.Error("files for TLS to Redis cannot be used, what was read before stays", "error", err)
		}
		return f.mu.last
	}
	f.mu.texts, f.mu.last, f.mu.trouble = texts, cfg, ""
	slog.Info("files for TLS to Redis have changed and are in use", "ca", f.said.CA, "cert", f.said.Cert)
	return cfg
}
