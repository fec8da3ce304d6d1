package balance

import (
	"math/bits"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// owners asks for the endpoint of many keys, by identity.
func owners(s *Set, keys int) []string {
	out := make([]string, keys)
	for k := range out {
		i, _ := s.Pick(t0, 0, HashKey([]byte{byte(k), byte(k >> 8), byte(k >> 16)}, 0), nil)
		out[k] = s.Identity(i)
	}
	return out
}

func moved(a, b []string) float64 {
	n := 0
	for k := range a {
		if a[k] != b[k] {
			n++
		}
	}
	return float64(n) / float64(len(a))
}

func TestMaglevTableIsBalanced(t *testing.T) {
	for _, weights := range [][]uint32{{1, 1, 1, 1, 1}, {1, 2, 3, 4}, {1, 1000}, {7, 100, 350}} {
		endpoints := weighted(weights...)
		table, err := NewTable(endpoints, 0)
		if err != nil {
			t.Fatal(err)
		}
		counts := make([]float64, len(weights))
		for _, i := range table.tiers[0] {
			counts[i]++
		}
		for i, share := range shares(endpoints) {
			want := share * TableSizeDefault
			if counts[i] < want-2 || counts[i] > want+2 {
				t.Errorf("weights %v: endpoint %d owns %.0f slots, want %.0f", weights, i, counts[i], want)
			}
		}
	}
}

func TestMaglevDoesNotDependOnTheOrderOfTheList(t *testing.T) {
	endpoints := weighted(1, 2, 3, 4, 5, 6, 7)
	a := owners(newSet(t, Config{Algorithm: Maglev}, endpoints), 5000)
	slices.Reverse(endpoints)
	b := owners(newSet(t, Config{Algorithm: Maglev}, endpoints), 5000)
	if m := moved(a, b); m != 0 {
		t.Errorf("%.3f of the keys moved", m)
	}
}

// A member more or less moves its own share and at most 5 % besides.
func TestMaglevMembershipChangeMovesLittle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(2, 40).Draw(t, "endpoints")
		unequal := rapid.Bool().Draw(t, "unequal weights")
		endpoints := list(n)
		if unequal {
			for i := range endpoints {
				endpoints[i].Weight = uint32(1 + i%3)
			}
		}
		gone := rapid.IntRange(0, n-1).Draw(t, "gone")
		share := shares(endpoints)[gone]
		without := slices.Delete(slices.Clone(endpoints), gone, gone+1)
		before, _ := NewTable(endpoints, 16381)
		after, _ := NewTable(without, 16381)
		other := 0
		for k, i := range before.tiers[0] {
			j := after.tiers[0][k]
			if int(i) != gone && endpoints[i].Identity != without[j].Identity {
				other++
			}
		}
		if m := float64(other) / 16381; m > 0.05 {
			t.Fatalf("one of %d (share %.3f) went: %.3f of the slots of others moved", n, share, m)
		}
	})
}

func TestMaglevIllHealthMovesOnlyTheKeysOfTheIll(t *testing.T) {
	const keys = 20_000
	s := newSet(t, Config{Algorithm: Maglev}, list(10))
	before := owners(s, keys)
	s.SetHealth(3, Failing, t0)
	one := owners(s, keys)
	s.SetHealth(7, Failing, t0)
	two := owners(s, keys)
	got := map[string]int{}
	for k := range before {
		if before[k] != "e3" && one[k] != before[k] {
			t.Fatalf("key %d of the healthy %s went to %s", k, before[k], one[k])
		}
		if one[k] != "e7" && two[k] != one[k] {
			t.Fatalf("key %d of the healthy %s went to %s", k, one[k], two[k])
		}
		if before[k] == "e3" {
			got[one[k]]++
		}
	}
	for id, n := range got {
		if share := float64(n) / (keys / 10); share < 0.07 || share > 0.16 {
			t.Errorf("%s took %.3f of the ill one's keys, want a ninth", id, share)
		}
	}
	s.SetHealth(3, Healthy, t0)
	s.SetHealth(7, Healthy, t0)
	if m := moved(before, owners(s, keys)); m != 0 {
		t.Errorf("after recovery %.3f of the keys are not back", m)
	}
}

func TestMaglevWithFewLeftStaysStable(t *testing.T) {
	s := newSet(t, Config{Algorithm: Maglev, PanicThreshold: -1}, list(500))
	for i := range 497 {
		s.SetHealth(i, Failing, t0)
	}
	a := owners(s, 5000)
	counts := map[string]int{}
	for _, id := range a {
		counts[id]++
	}
	for _, id := range []string{"e497", "e498", "e499"} {
		if c := counts[id]; c < 1500 || c > 1850 {
			t.Errorf("%s has %d of 5000 keys, want a third", id, c)
		}
	}
	s.SetHealth(499, Failing, t0)
	for k, id := range owners(s, 5000) {
		if a[k] != "e499" && a[k] != id {
			t.Fatalf("key %d of the healthy %s went to %s", k, a[k], id)
		}
	}
}

func TestMaglevSlowStartMovesEachKeyOnce(t *testing.T) {
	s := newSet(t, Config{Algorithm: Maglev, SlowStart: 10 * time.Second}, list(4))
	s.SetHealth(2, Ejected, t0)
	s.SetHealth(2, Healthy, t0)
	for k := range uint64(2000) {
		home := false
		for step := range 11 {
			i, _ := s.Pick(t0.Add(time.Duration(step)*time.Second), 0, mix(k), nil)
			if home && i != 2 {
				t.Fatalf("key %d came home and left again", k)
			}
			home = i == 2
		}
	}
}

func TestMaglevSecondAttemptsOfAKeyAgree(t *testing.T) {
	s := newSet(t, Config{Algorithm: Maglev}, list(8))
	for k := range uint64(500) {
		var tried Tried
		first, _ := s.Pick(t0, 1, mix(k), nil)
		tried.Add(s.Identity(first))
		second, _ := s.Pick(t0, 2, mix(k), &tried)
		again, _ := s.Pick(t0, 3, mix(k), &tried)
		s.SetHealth(first, Failing, t0)
		without, _ := s.Pick(t0, 4, mix(k), nil)
		s.SetHealth(first, Healthy, t0)
		if second == first || second != again || second != without {
			t.Fatalf("key %d: first %d, then %d, %d, and %d when the first is ill", k, first, second, again, without)
		}
	}
}

func TestNewTableRefuses(t *testing.T) {
	for _, c := range []struct {
		n    int
		size uint32
		want string
	}{
		{3, 65536, "must be a prime"},
		{3, 1, "must be a prime"},
		{6, 5, "6 endpoints, at most 5 fit"},
		{65536, 65537, "65536 endpoints, at most 65535 fit"},
		{3, 2, "3 endpoints, at most 2 fit"},
	} {
		_, err := NewTable(make([]Endpoint, c.n), c.size)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%d endpoints, %d slots: %v, want %q", c.n, c.size, err, c.want)
		}
	}
	if _, err := NewTable(nil, 0); err != nil {
		t.Errorf("the table of no endpoints: %v", err)
	}
}

func TestHashKeySpreadsSimilarKeys(t *testing.T) {
	const buckets = 1009
	for _, form := range []string{"user-", "/orders/", "10.0.0.", "", strings.Repeat("long ", 20)} {
		counts := make([]int, buckets)
		even := make([]float64, buckets)
		for k := range 100_000 {
			key := append([]byte(form), digits(k)...)
			counts[below(HashKey(key, 0), buckets)]++
		}
		for i := range even {
			even[i] = 1.0 / buckets
		}
		// 1008 degrees of freedom: mean 1008, standard deviation 45.
		if x := chiSquare(counts, even); x < 820 || x > 1200 {
			t.Errorf("keys %q: chi-square %.0f, want about 1008", form, x)
		}
	}
}

func digits(k int) []byte {
	var out []byte
	for ; k > 0; k /= 10 {
		out = append(out, byte('0'+k%10))
	}
	return out
}

// Flipping any bit of key or seed flips each bit of the hash half of the time.
func TestHashKeyAvalanche(t *testing.T) {
	for _, size := range []int{1, 7, 8, 9, 20} {
		for bit := range size * 8 {
			flips := 0
			for k := range uint64(200) {
				key := make([]byte, size)
				for i := range key {
					key[i] = byte(mix(k*31 + uint64(i)))
				}
				a := HashKey(key, k)
				key[bit/8] ^= 1 << (bit % 8)
				flips += bits.OnesCount64(a ^ HashKey(key, k))
			}
			if mean := float64(flips) / 200; mean < 29.5 || mean > 34.5 {
				t.Errorf("bit %d of %d bytes flips %.1f bits on average, want 32", bit, size, mean)
			}
		}
	}
	if HashKey([]byte("a"), 1) == HashKey([]byte("a"), 2) || HashKey([]byte("a"), 1) == HashKey([]byte("a\x00"), 1) {
		t.Error("seed or length do not count")
	}
}

func TestHashKeyIsTheSameForEver(t *testing.T) {
	for _, c := range []struct {
		key  string
		seed uint64
		want uint64
	}{
		{"", 0, 0x4e6ae996bbe44404}, {"a", 0, 0x851b7d2e4b492743},
		{"10.0.0.1:9000", 0, 0x607d85709da63634}, {"10.0.0.1:9000", 42, 0x1793710a73f9d120},
	} {
		if got := HashKey([]byte(c.key), c.seed); got != c.want {
			t.Errorf("HashKey(%q, %d) = %#x, want %#x", c.key, c.seed, got, c.want)
		}
	}
}

func BenchmarkNewTable(b *testing.B) {
	endpoints := list(1000)
	for b.Loop() {
		_, _ = NewTable(endpoints, 0)
	}
}

func BenchmarkHashKey(b *testing.B) {
	key := []byte("session=0123456789abcdef0123456789abcdef")
	b.ReportAllocs()
	for b.Loop() {
		HashKey(key, 1)
	}
}
