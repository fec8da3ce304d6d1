// Package descriptors gets the descriptor sets that filters transcode by: from the files that a document names, or from the
// server itself by gRPC reflection. What a server said is kept in a folder, so that a gateway can start while its upstream
// is down; package compile, which works with what is got, does no I/O.
package descriptors

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/yumen-io/yumen/control/certs"
	"github.com/yumen-io/yumen/control/compile"
	"github.com/yumen-io/yumen/control/config"
	"github.com/yumen-io/yumen/control/file"
	"github.com/yumen-io/yumen/filters/transcode"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// patience is how long a server may take to describe itself, over all its endpoints: a change of the configuration waits.
const patience = 5 * time.Second

// Reader gets descriptor sets. It may be used from any goroutine.
type Reader struct {
	// Folder keeps what servers said; empty: nothing is kept.
	Folder string
	// Offline asks no server: what only one could tell is compile.ErrUnasked.
	Offline bool
	Logger  *slog.Logger // nil tells nobody
}

// Get returns the set of a filter on a route to a cluster. It is a compile.Descriptors.
func (r *Reader) Get(said *config.TranscodeFilter, cluster *config.Cluster) ([]byte, error) {
	if said.Descriptors != "" {
		return file.Read(said.Descriptors)
	}
	if r.Offline {
		return nil, compile.ErrUnasked
	}
	set, err := reflect(cluster)
	if err == nil {
		r.keep(cluster, set)
		return set, nil
	}
	kept, missing := os.ReadFile(r.path(cluster))
	if r.Folder == "" || missing != nil {
		return nil, err
	}
	if r.Logger != nil {
		r.Logger.Warn("a server does not describe itself, what it said before is used", "cluster", cluster.Name, "error", err)
	}
	return kept, nil
}

// path is where the set of a cluster is kept, by its name and by whom it was had from.
func (r *Reader) path(cluster *config.Cluster) string {
	sum := sha256.New()
	for _, e := range cluster.Endpoints {
		fmt.Fprintln(sum, e.Address)
	}
	return filepath.Join(r.Folder, cluster.Name+"-"+hex.EncodeToString(sum.Sum(nil)[:8])+".pb")
}

// keep writes a set for a later start. That it cannot be kept is no failure of the change.
func (r *Reader) keep(cluster *config.Cluster, set []byte) {
	if r.Folder == "" {
		return
	}
	err := os.MkdirAll(r.Folder, 0o700)
	path := r.path(cluster)
	if err == nil {
		err = os.WriteFile(path+".new", set, 0o600)
	}
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil && r.Logger != nil {
		r.Logger.Warn("what a server says of itself cannot be kept for a start without it", "cluster", cluster.Name, "error", err)
	}
}

// reflect asks the endpoints of a cluster, one after the other, until one answers.
func reflect(cluster *config.Cluster) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var failed error
	for _, e := range cluster.Endpoints {
		creds, err := credentialsOf(cluster, e.Address.Host)
		if err != nil {
			return nil, err
		}
		conn, err := grpc.NewClient("passthrough:///"+e.Address.String(), grpc.WithTransportCredentials(creds))
		if err != nil {
			return nil, err
		}
		set, err := transcode.Fetch(ctx, conn, transcode.FetchLimits{})
		conn.Close()
		if err == nil {
			return set, nil
		}
		failed = fmt.Errorf("ask %s to describe itself: %w", e.Address, err)
		if ctx.Err() != nil {
			break
		}
	}
	return nil, failed
}

// credentialsOf are how the cluster's endpoints are met.
func credentialsOf(cluster *config.Cluster, host string) (credentials.TransportCredentials, error) {
	said := cluster.TLS
	if said == nil {
		return insecure.NewCredentials(), nil
	}
	cfg := &tls.Config{ServerName: host, InsecureSkipVerify: !said.Verify, NextProtos: []string{"h2"}}
	if said.SNI != "" {
		cfg.ServerName = said.SNI
	}
	var err error
	if said.CA != "" {
		var pool *x509.CertPool
		if pool, err = certs.LoadBundle(said.CA, time.Now()); err != nil {
			return nil, err
		}
		cfg.RootCAs = pool
	}
	if said.Cert != "" {
		cert, err := certs.Load(certs.Pair{Cert: said.Cert, Key: said.Key, Client: true}, time.Now())
		if err != nil {
			return nil, err
		}
		cfg.Certificates = []tls.Certificate{*cert}
	}
	return credentials.NewTLS(cfg), nil
}
