package split

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func table(t interface{ Fatal(...any) }, salt string, variants ...Variant) *Table {
	out, err := New(salt, variants)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func key(i int) []byte { return strconv.AppendInt([]byte("user="), int64(i), 10) }

// Shares are as the weights say, also very small ones: within four and a half standard deviations of a fair draw.
func TestSharesAreTheWeights(t *testing.T) {
	const keys = 400_000
	for _, weights := range [][]float64{
		{1}, {0.5, 0.5}, {0.95, 0.05}, {0.9999, 0.0001}, {0.9, 0.0999, 0.0001}, {0.2, 0.2, 0.2, 0.2, 0.2}, {0, 1}, {0.7, 0, 0.3}, {3, 1},
	} {
		for _, salt := range []string{"", "app", "/checkout/split"} {
			var variants []Variant
			sum := 0.0
			for i, w := range weights {
				variants = append(variants, Variant{fmt.Sprint("v", i), w})
				sum += w
			}
			tab, got := table(t, salt, variants...), make([]int, len(weights))
			for i := range keys {
				got[tab.Pick(key(i))]++
			}
			for i, w := range weights {
				p := w / sum
				if off := math.Abs(float64(got[i]) - p*keys); off > 4.5*math.Sqrt(keys*p*(1-p)) {
					t.Errorf("%v, salt %q: variant %d has %d of %d keys", weights, salt, i, got[i], keys)
				}
			}
		}
	}
}

// What decides is names and weights: the order in the list does not, nor does who has no weight, nor a factor.
func TestOnlyNamesAndWeightsDecide(t *testing.T) {
	a := table(t, "s", Variant{"a", 0.2}, Variant{"b", 0.3}, Variant{"c", 0.5})
	b := table(t, "s", Variant{"c", 50}, Variant{"none", 0}, Variant{"b", 30}, Variant{"a", 20})
	names := []string{"c", "none", "b", "a"}
	differ := 0
	for i := range 100_000 {
		if names[b.Pick(key(i))] != []string{"a", "b", "c"}[a.Pick(key(i))] {
			differ++
		}
	}
	if differ != 0 {
		t.Errorf("%d keys have another variant", differ)
	}
}

// Assignments are a promise over versions and machines: these were so from the beginning.
func TestAssignmentsDoNotChange(t *testing.T) {
	tab := table(t, "app", Variant{"stable", 0.7}, Variant{"canary", 0.2}, Variant{"next", 0.1})
	var b strings.Builder
	for i := range 60 {
		b.WriteByte("scn"[tab.Pick(key(i))])
	}
	const want = "cssssssscnscssssnssnsssssssscsssssncsssssssccsscsccsssscsscs"
	if b.String() != want {
		t.Errorf("got  %s\nwant %s", b.String(), want)
	}
}

// One variant grows by what Set takes from the others: whoever moves, moves to it; who was in it stays.
func TestGrowingTakesKeysAndMovesNoOther(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(2, VariantsMax).Draw(t, "variants")
		weights := make([]float64, n)
		for i := range weights {
			weights[i] = float64(rapid.IntRange(0, 1000).Draw(t, "weight"))
		}
		weights[0]++
		now, err := Set(unsaid(n), weights, nil)
		if err != nil {
			t.Fatal(err)
		}
		grows := rapid.IntRange(0, n-1).Draw(t, "grows")
		said := unsaid(n)
		from := int(now[grows]*StepsOfOne) + 1
		if from > StepsOfOne {
			return
		}
		said[grows] = float64(rapid.IntRange(from, StepsOfOne).Draw(t, "to")) / StepsOfOne
		next, err := Set(said, now, weights)
		if err != nil {
			t.Fatal(err)
		}
		before, after := table(t, "salt", named(now)...), table(t, "salt", named(next)...)
		for i := range 2000 {
			if was, is := before.Pick(key(i)), after.Pick(key(i)); was != is && is != grows {
				t.Fatalf("%v to %v: key %d went from %d to %d, and %d grew", now, next, i, was, is, grows)
			}
		}
	})
}

func unsaid(n int) []float64 {
	out := make([]float64, n)
	for i := range out {
		out[i] = Unsaid
	}
	return out
}

func named(weights []float64) (list []Variant) {
	for i, w := range weights {
		list = append(list, Variant{fmt.Sprint("v", i), w})
	}
	return list
}

// Who is in at 5 % is in at 10 %, step by step up to all, and the steps back undo it.
func TestACanaryGrowsAndShrinks(t *testing.T) {
	in := map[int]bool{}
	for step := 0; step <= StepsOfOne; step += 100 {
		w := float64(step) / StepsOfOne
		tab := table(t, "app", Variant{"stable", 1 - w}, Variant{"canary", w})
		for i := range 5000 {
			is := tab.Pick(key(i)) == 1
			if in[i] && !is {
				t.Fatalf("at %d of %d, key %d is out again", step, StepsOfOne, i)
			}
			in[i] = is
		}
	}
	if len(in) != 5000 || !in[4999] {
		t.Error("at all, not all are in")
	}
}

// Two splits with different salts have nothing to do with each other; with one salt the same keys are in.
func TestSaltsAreIndependent(t *testing.T) {
	const keys = 100_000
	both := func(a, b string) (n int) {
		x := table(t, a, Variant{"stable", 0.9}, Variant{"canary", 0.1})
		y := table(t, b, Variant{"stable", 0.9}, Variant{"canary", 0.1})
		for i := range keys {
			if x.Pick(key(i)) == 1 && y.Pick(key(i)) == 1 {
				n++
			}
		}
		return n
	}
	if n := both("a", "b"); n < keys/100-150 || n > keys/100+150 {
		t.Errorf("%d keys are in both of two tenths", n)
	}
	if n := both("a", "a"); n < keys/10-450 || n > keys/10+450 {
		t.Errorf("%d keys are in a tenth", n)
	}
}

// The slow twin: who has the smallest u^(1/w) taken the other way round, in the form of the paper (Efraimidis and Spirakis).
func TestAgreesWithTheFormulaOfPapers(t *testing.T) {
	variants := []Variant{{"a", 0.6}, {"b", 0.3}, {"c", 0.1}}
	tab := table(t, "twin", variants...)
	for i := range 20_000 {
		best, top := -1, -1.0
		for j, v := range variants {
			u := float64(mix(hash(key(i), hash([]byte("twin"), 0))^hash([]byte(v.Name), nameSeed))>>11+1) / (1 << 53)
			if score := math.Pow(u, 1/v.Weight); score > top {
				best, top = j, score
			}
		}
		if got := tab.Pick(key(i)); got != best {
			t.Fatalf("key %d: %d, want %d", i, got, best)
		}
	}
}

func TestTablesThatCannotBe(t *testing.T) {
	f := func(want string, variants ...Variant) {
		t.Helper()
		if tab, err := New("", variants); tab != nil || err == nil || err.Error() != want {
			t.Errorf("%v: %v, want %s", variants, err, want)
		}
	}
	f("there are 0 variants, and 1 to 16 can be")
	f("there are 17 variants, and 1 to 16 can be", make([]Variant, 17)...)
	f(`there are two variants "a"`, Variant{"a", 1}, Variant{"a", 2})
	f("no variant has a weight above zero", Variant{"a", 0}, Variant{"b", 0})
	f(`variant "a": -1 is no weight`, Variant{"a", -1})
	f(`variant "a": NaN is no weight`, Variant{"a", math.NaN()})
	f(`variant "a": +Inf is no weight`, Variant{"a", math.Inf(1)})
}

func TestSet(t *testing.T) {
	const u = Unsaid
	f := func(said, now, usual []float64, want string) {
		t.Helper()
		weights, err := Set(said, now, usual)
		var list []string
		for _, w := range weights {
			list = append(list, strconv.FormatFloat(w*100, 'g', 6, 64))
		}
		got := strings.Join(list, " ")
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%v, now %v, usual %v: %s, want %s", said, now, usual, got, want)
		}
	}
	f([]float64{u, 0.05}, nil, nil, "95 5")
	f([]float64{u, u, 0.1}, nil, nil, "45 45 10")
	f([]float64{u, u, 0.1}, []float64{0.8, 0.2, 0}, nil, "72 18 10")
	f([]float64{u, 0.1}, []float64{0, 1}, []float64{0.95, 0.05}, "90 10")
	f([]float64{u, u, 0.1}, []float64{0, 0, 1}, []float64{0.6, 0.2, 0.2}, "67.5 22.5 10")
	f([]float64{u, 0.1}, []float64{0, 1}, []float64{0, 1}, "90 10")
	f([]float64{u, 1}, []float64{1, 0}, nil, "0 100")
	f([]float64{0.5, 0.6}, nil, nil, "the weights sum up to 110%")
	f([]float64{0.5, 0.4}, nil, nil, "the weights sum up to 90%, and every variant has one")
	f([]float64{0.7, 0.2, 0.1}, nil, nil, "70 20 10")
	f([]float64{0.7, 0.2, 0.1, u}, nil, nil, "70 20 10 0")
}

func TestSteps(t *testing.T) {
	for w, want := range map[float64]bool{0: true, 1: true, 0.05: true, 0.0001: true, 0.00005: false, 0.33: true, 0.3333: true, 0.33333: false, -0.1: false, 1.1: false} {
		if IsStep(w) != want {
			t.Errorf("%v: %v", w, !want)
		}
	}
}

func TestPickAllocatesNothing(t *testing.T) {
	tab := table(t, "app", Variant{"stable", 0.95}, Variant{"canary", 0.05})
	k := []byte("client=192.0.2.1")
	if n := testing.AllocsPerRun(1000, func() { tab.Pick(k) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzPick(f *testing.F) {
	f.Add([]byte("user=1"), "salt", 0.5, 0.5)
	f.Add([]byte(nil), "", 0.0, 1e-300)
	f.Fuzz(func(t *testing.T, key []byte, salt string, a, b float64) {
		tab, err := New(salt, []Variant{{"a", a}, {"b", b}})
		if err != nil {
			return
		}
		i := tab.Pick(key)
		if i < 0 || i > 1 || tab.Pick(key) != i {
			t.Fatalf("variant %d", i)
		}
	})
}

func BenchmarkPick(b *testing.B) {
	for _, n := range []int{2, 4, 16} {
		b.Run(fmt.Sprintf("variants=%d", n), func(b *testing.B) {
			var weights []float64
			for range n {
				weights = append(weights, 1)
			}
			tab, k := table(b, "app", named(weights)...), []byte("client=192.0.2.1")
			b.ReportAllocs()
			for b.Loop() {
				tab.Pick(k)
			}
		})
	}
}
