package config

import "testing"

func TestSuggest(t *testing.T) {
	known := []string{"cluster", "clusters", "routes", "balance", "least_request", "health", "endpoints", "on"}
	f := func(word, want string) {
		t.Helper()
		if got := suggest(word, known); got != want {
			t.Errorf("%s: got %q, want %q", word, got, want)
		}
	}
	f("clutser", "cluster")
	f("Cluster", "cluster")
	f("least-request", "least_request")
	f("leastrequest", "least_request")
	f("upstream", "cluster")
	f("proxy_pass", "cluster")
	f("servers", "endpoints")
	f("lb_policy", "balance")
	f("helth", "health")
	f("o", "on")
	f("zebra", "")
	f("", "")
}

func TestDistance(t *testing.T) {
	f := func(a, b string, want int) {
		t.Helper()
		if got := distance(a, b); got != want {
			t.Errorf("%s, %s: got %d, want %d", a, b, got, want)
		}
		if got := distance(b, a); got != want {
			t.Errorf("%s, %s: got %d, want %d", b, a, got, want)
		}
	}
	f("", "", 0)
	f("", "abc", 3)
	f("abc", "abc", 0)
	f("abc", "abd", 1)
	f("abc", "acb", 1)
	f("kitten", "sitting", 3)
	f("naïve", "naive", 1)
}

// TestForeignWordsAreTranslatedToWordsOfOurs keeps the table from pointing at keys that no longer exist.
func TestForeignWordsAreTranslatedToWordsOfOurs(t *testing.T) {
	ours := map[string]bool{"off": true, "502-504": true, "connect": true, "x-forwarded": true, "forwarded": true}
	for _, a := range []Algorithm{RoundRobin, Weighted, Random, LeastRequest, TwoChoices, Maglev} {
		ours[string(a)] = true
	}
	for _, f := range append(accessLogFields, grpcWords()...) {
		ours[f] = true
	}
	eachObject(func(o *outline) {
		for _, k := range o.keys {
			ours[k.name] = true
		}
	})
	for word, meanings := range foreign {
		for _, m := range meanings {
			if !ours[m] {
				t.Errorf("%s is translated to %s, which is no word of ours", word, m)
			}
		}
	}
}
