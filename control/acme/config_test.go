package acme

import (
	"strings"
	"testing"
	"time"
)

func TestStandIn(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	c, err := StandIn([]string{"site.test", "www.site.test"}, now)
	do(t, err)
	if err := carries(c.Leaf, []string{"site.test", "www.site.test"}); err != nil {
		t.Error(err)
	}
	if d := c.Leaf.NotAfter.Sub(now); d != standInTime || c.Leaf.IsCA || !c.Leaf.NotBefore.Before(now) {
		t.Errorf("valid for %v, authority %v", d, c.Leaf.IsCA)
	}
}

func TestBadConfigurations(t *testing.T) {
	for _, c := range []struct {
		change func(*Config)
		want   string
	}{
		{func(c *Config) { c.Directory = "http://ca.test/dir" }, "is no https URL"},
		{func(c *Config) { c.AcceptTerms = false }, "terms of service"},
		{func(c *Config) { c.Email = "me" }, "is no address"},
		{func(c *Config) { c.Email = "me@a.test?bcc=you@b.test" }, "is no address"},
		{func(c *Config) { c.Folder = "" }, "no folder"},
		{func(c *Config) { c.Groups = nil }, "0 groups"},
		{func(c *Config) { c.Groups = make([][]string, groupsMax+1) }, "1001 groups"},
		{func(c *Config) { c.Groups = [][]string{{}} }, "group 1 has 0 names"},
		{func(c *Config) { c.Groups = [][]string{make([]string, namesMax+1)} }, "101 names"},
		{func(c *Config) { c.Groups = [][]string{{"*.site.test"}} }, "is a wildcard: it needs the challenge dns-01"},
		{func(c *Config) { c.Groups = [][]string{{"10.0.0.1"}} }, "is an address"},
		{func(c *Config) { c.Groups = [][]string{{"localhost"}} }, "no public host name"},
		{func(c *Config) { c.Groups = [][]string{{"bücher.test"}} }, "xn-- form"},
		{func(c *Config) { c.Groups = [][]string{{"-a.test"}} }, "no host name"},
		{func(c *Config) { c.Groups = [][]string{{"a..test"}} }, "no host name"},
		{func(c *Config) { c.Groups = [][]string{{"a.test", "A.test"}} }, "named twice"},
		{func(c *Config) { c.Groups = [][]string{{"a.test", "b.test"}, {"b.test", "a.test"}} }, "same names"},
		{func(c *Config) { c.Challenge = "dns-01" }, `"dns-01" is unknown`},
		{func(c *Config) { c.Answers = Answers{} }, "nobody answers the challenge http-01"},
		{func(c *Config) { c.Challenge, c.Answers = TLSALPN01, Answers{} }, "nobody answers the challenge tls-alpn-01"},
	} {
		cfg := Config{AcceptTerms: true, Folder: t.TempDir(), Groups: [][]string{{"a.test"}}, Answers: (&site{}).answers()}
		if _, err := cfg.complete(); err != nil {
			t.Fatal(err)
		}
		c.change(&cfg)
		if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want %s", err, c.want)
		}
	}
}
