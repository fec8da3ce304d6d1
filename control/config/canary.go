package config

import (
	"sync"
	"time"

	"go.yaml.in/yaml/v3"
)

// Canary is a variant of a split whose weight goes up by itself.
type Canary struct {
	Pos
	Variant      string
	Baseline     string // empty: the first of the other variants
	Steps        []Percent
	StepTime     time.Duration
	StepRequests int
	StepTimeMax  time.Duration // 0: ten times StepTime
	Tolerance    CanaryTolerance
	Risk         Percent
	Mode         GuardMode
}

// CanaryTolerance is how much worse a canary may be.
type CanaryTolerance struct {
	Errors, Latency Percent
}

// canaryStepsMax is that of policy/canary.
const canaryStepsMax = 32

var canaryObject = sync.OnceValue(func() *object[Canary] {
	type T = Canary
	return &object[T]{
		name: "canary", article: "a",
		about: "A variant whose weight goes up step by step as long as its error ratio and latency are no worse than another's, and to 0% for good once they are. Whoever sets weights by hand stops it; yumen split NAME --document begins it anew.",
		pos:   func(v *T) *Pos { return &v.Pos },
		keys: []key[T]{
			need("variant", text("name", notEmpty), func(v *T) *string { return &v.Variant },
				`Name of the variant. Its weight is what it has before the first step, and must be written: 0%.`),
			may("baseline", text("name", notEmpty), func(v *T) *string { return &v.Baseline },
				`Name of the variant it is compared with. By default the first of the others.`),
			def("steps", oneOrMore(splitWeight()), func(v *T) *[]Percent { return &v.Steps }, []Percent{1, 5, 25, 50, 100},
				`Its weights, growing. At 100% there is nothing left to compare with, and it is done; a last step below is watched as the others are. One percent first: what fails at once hurts one request in a hundred.`),
			def("step_time", duration(time.Second, 24*time.Hour), func(v *T) *time.Duration { return &v.StepTime }, 5*time.Minute,
				`How long a step takes at least. Five minutes: a leak, or a cache that does not fill, needs time to show.`),
			def("step_requests", integer(1, 10_000_000), func(v *T) *int { return &v.StepRequests }, 500,
				`Requests that the canary must have had on a step. By 500, an error ratio that is 5% higher is found out, by 2000 one that is 2% higher.`),
			may("step_time_max", duration(time.Second, 30*24*time.Hour), func(v *T) *time.Duration { return &v.StepTimeMax },
				`When a step that still waits for requests or for certainty is called inconclusive in the log. It goes on waiting. By default ten times step_time.`),
			always("tolerance", section(canaryToleranceObject), func(v *T) *CanaryTolerance { return &v.Tolerance },
				`How much worse than its baseline it may be.`),
			def("risk", canaryRisk(), func(v *T) *Percent { return &v.Risk }, 1,
				`How likely it is, at most, that a version which is no worse is rolled back, over all steps and however long they take. With less, a bad one is found out a little later.`),
			def("mode", guardMode(), func(v *T) *GuardMode { return &v.Mode }, GuardEnforce,
				`enforce, shadow (it judges and tells, and sets no weights) or off. Enforced by default: who writes a canary down wants it.`),
		},
		check: func(d *decoder, n *yaml.Node, v *T, g given[T]) {
			if !g.clean {
				return
			}
			if len(v.Steps) == 0 || len(v.Steps) > canaryStepsMax {
				d.fail(g.key("steps"), "write steps: [1%, 5%, 25%, 50%, 100%]", "a canary has 1 to %d steps, found %d", canaryStepsMax, len(v.Steps))
			}
			last := Percent(0)
			for _, w := range v.Steps {
				if w <= last {
					d.fail(g.key("steps"), "write steps: [1%, 5%, 25%, 50%, 100%]", "steps grow, and %s comes after %s", w, last)
					break
				}
				last = w
			}
			if v.StepTimeMax != 0 && v.StepTimeMax < v.StepTime {
				d.fail(g.key("step_time_max"), "", "a step takes %s at least, and %s at most", formatDuration(v.StepTime), formatDuration(v.StepTimeMax))
			}
		},
	}
})

var canaryToleranceObject = sync.OnceValue(func() *object[CanaryTolerance] {
	type T = CanaryTolerance
	return &object[T]{
		name: "canary_tolerance", article: "a",
		about: "How much worse than its baseline a canary may be.",
		keys: []key[T]{
			def("errors", percent(), func(v *T) *Percent { return &v.Errors }, 0.5,
				`By how much its error ratio may be higher: at 0.5%, 1.5% where the baseline has 1%. Half a percent: less is no alarm elsewhere either, and the less is tolerated, the more a single client that always fails matters.`),
			def("latency", percent(), func(v *T) *Percent { return &v.Latency }, 10,
				`By which part its latency may be longer, of its median, p95 and p99, to the first byte of requests that were no errors. A tenth: a new process with cold caches is slower by as much.`),
		},
	}
})

// canaryRisk is a probability that is none of certainty.
func canaryRisk() kind[Percent] {
	k := percent()
	read := k.read
	k.read = func(d *decoder, n *yaml.Node, v *Percent) {
		before := d.errors
		var one Percent
		read(d, n, &one)
		switch {
		case d.errors > before:
		case one < 0.001 || one > 20:
			d.fail(n, "write 1%", "a risk is from 0.001%% to 20%%, found %s", one)
		default:
			*v = one
		}
	}
	return k
}

// checkCanary checks what concerns the split's variants.
func checkCanary(d *decoder, v *SplitFilter) {
	c := v.Canary
	if c == nil {
		return
	}
	at := nodeAt(c.Pos)
	var variant *SplitVariant
	known := &names{}
	for i := range v.Variants {
		known.add(v.Variants[i].Name)
		if v.Variants[i].Name == c.Variant {
			variant = &v.Variants[i]
		}
	}
	for _, name := range []string{c.Variant, c.Baseline} {
		if _, ok := known.find(name); !ok && name != "" {
			d.fail(at, didYouMean(name, known.list), "there is no variant named %s", quote(name))
			return
		}
	}
	switch {
	case c.Variant == c.Baseline:
		d.fail(at, "name another variant, or leave baseline out", "the canary %s is compared with itself", quote(c.Variant))
	case variant.Weight == nil:
		d.fail(nodeAt(variant.Pos), "write weight: 0%", "the canary %s has no weight, so that it begins with what the others leave", quote(c.Variant))
	case len(c.Steps) > 0 && *variant.Weight > c.Steps[0]:
		d.fail(nodeAt(variant.Pos), "write weight: 0%", "the canary %s has a weight of %s, above its first step of %s", quote(c.Variant), *variant.Weight, c.Steps[0])
	}
}
