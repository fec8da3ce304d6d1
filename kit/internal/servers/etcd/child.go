package etcd

import (
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"

	"go.etcd.io/etcd/server/v3/embed"
)

// memberVariable names the environment variable that makes a test binary an etcd member. It holds a member.
const memberVariable = "YUMEN_TEST_ETCD_MEMBER"

// member is what a child is told.
type member struct {
	Name   string
	Dir    string
	Client string // URL
	Peer   string // URL
	// Cluster is etcd's initial-cluster, name=url pairs, and Token tells a wiped cluster from the one before: etcd makes
	// the cluster's id of both.
	Cluster string
	Token   string
	// TickMs is the heartbeat. An election takes ten of them, and the shortest lease is three halves of that, rounded up
	// to a second.
	TickMs       uint
	AuthTokenTTL uint // seconds
}

// Main runs an etcd member and never returns, if this process was started by Start to be one. Otherwise it does nothing.
// It is called before anything else in TestMain.
func Main() {
	text := os.Getenv(memberVariable)
	if text == "" {
		return
	}
	var m member
	err := json.Unmarshal([]byte(text), &m)
	if err == nil {
		err = m.run()
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "etcd member: %v\n", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// run serves until the parent closes our standard input, which it also does by dying.
func (m *member) run() error {
	cfg, err := m.config()
	if err != nil {
		return err
	}
	e, err := embed.StartEtcd(cfg)
	if err != nil {
		return err
	}
	go func() { _, _ = io.Copy(io.Discard, os.Stdin); os.Exit(0) }()
	return <-e.Err()
}

func (m *member) config() (*embed.Config, error) {
	client, err := url.Parse(m.Client)
	if err != nil {
		return nil, err
	}
	peer, err := url.Parse(m.Peer)
	if err != nil {
		return nil, err
	}
	cfg := embed.NewConfig()
	cfg.Name, cfg.Dir = m.Name, m.Dir
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = []url.URL{*client}, []url.URL{*client}
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = []url.URL{*peer}, []url.URL{*peer}
	cfg.InitialCluster, cfg.InitialClusterToken = m.Cluster, m.Token
	cfg.TickMs, cfg.ElectionMs = m.TickMs, 10*m.TickMs
	if m.AuthTokenTTL > 0 {
		cfg.AuthTokenTTL = m.AuthTokenTTL
	}
	cfg.BcryptCost = 4 // the least there is: tests with passwords prove nothing about bcrypt
	// A killed process loses nothing that it has written; only a machine that loses its power would.
	cfg.UnsafeNoFsync = true
	cfg.LogLevel, cfg.LogOutputs = "error", []string{"stderr"}
	return cfg, nil
}
