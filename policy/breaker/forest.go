package breaker

import "math"

const (
	// treesMax is how many trees vote. Fifty give the score a standard error below 0.01 on seconds of one kind.
	treesMax = 50
	// sampleMax is how many healthy seconds a tree is made of; more would teach it the density of the common ones,
	// which is of no use for finding uncommon ones.
	sampleMax = 64
	// depthMax ends a branch. It is a little above the depth at which a healthy second is alone on average (log2 of sampleMax),
	// since splits beyond the data take some.
	depthMax = 8
	// nodesMax of a tree: each inner node splits off at least a leaf, and depth bounds the chains of empty ones.
	nodesMax = 256
)

// generator is SplitMix64: small, and the same on each machine.
type generator uint64

func (g *generator) next() uint64 {
	*g += 0x9e3779b97f4a7c15
	z := uint64(*g)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// below returns a number from 0 to n-1.
func (g *generator) below(n int) int { return int(g.next() % uint64(n)) }

// float returns a number from 0 to below 1.
func (g *generator) float() float64 { return float64(g.next()>>11) / (1 << 53) }

// node of a tree. A leaf has no children, and its path is the depth plus what its seconds would still take to be told apart.
type node struct {
	feature int8
	low     int16 // child for values below at; 0: a leaf
	high    int16
	at      float64
	path    float64
}

// tree is an isolation tree: it parts a sample by random splits of random features until each second is alone. What is unlike the
// others is alone early.
type tree struct {
	nodes []node
}

// grow makes the tree anew of the sample, which it reorders.
func (t *tree) grow(sample []vector, g *generator) {
	t.nodes = t.nodes[:0]
	t.branch(sample, 0, g)
}

func (t *tree) branch(sample []vector, depth int, g *generator) int16 {
	at := int16(len(t.nodes))
	t.nodes = append(t.nodes, node{path: float64(depth) + averagePath(len(sample))})
	if len(sample) <= 1 || depth == depthMax || len(t.nodes)+2 > nodesMax {
		return at
	}
	f := g.below(int(features))
	low, high := sample[0][f], sample[0][f]
	for i := range sample {
		low, high = min(low, sample[i][f]), max(high, sample[i][f])
	}
	// The split may lie beyond what was seen, on the bad side: what is there later has then a branch to be alone in. A
	// plain isolation tree ends such a second in the leaf of the worst healthy one. The reach is the spread of the data, and never
	// less than what makes a difference to people: a service without any error would find one in a thousand unheard of.
	high += max(high-low, reach[f])
	split := low + g.float()*(high-low)
	if split <= low {
		return at
	}
	n := 0
	for i := range sample {
		if sample[i][f] < split {
			sample[i], sample[n] = sample[n], sample[i]
			n++
		}
	}
	l := t.branch(sample[:n], depth+1, g)
	h := t.branch(sample[n:], depth+1, g)
	if len(sample) == n {
		// Nobody was there: whoever comes there is alone at once.
		t.nodes[h].path = float64(depth + 1)
	}
	b := &t.nodes[at]
	b.feature, b.at, b.low, b.high = int8(f), split, l, h
	return at
}

// path returns how many splits it takes to tell v from the sample.
func (t *tree) path(v *vector) float64 {
	n := &t.nodes[0]
	for n.low != 0 {
		if v[n.feature] < n.at {
			n = &t.nodes[n.low]
		} else {
			n = &t.nodes[n.high]
		}
	}
	return n.path
}

// averagePath is how many splits it takes on average to find one of n in a random binary tree: 2H(n-1) - 2(n-1)/n.
func averagePath(n int) float64 {
	switch {
	case n <= 1:
		return 0
	case n == 2:
		return 1
	}
	const euler = 0.5772156649
	m := float64(n)
	return 2*(math.Log(m-1)+euler) - 2*(m-1)/m
}

// forest is the trees. Those of it that are grown are renewed one after the other, so that no second pays for all.
type forest struct {
	trees  [treesMax]tree
	grown  int // trees that there are
	oldest int
	sample [sampleMax]vector
}

// renew grows n trees anew, of random samples of the healthy seconds.
func (f *forest) renew(n int, from *reservoir, g *generator) {
	size := min(from.n, sampleMax)
	if size == 0 {
		return
	}
	for range n {
		for i := range size {
			f.sample[i] = from.list[g.below(from.n)]
		}
		f.trees[f.oldest].grow(f.sample[:size], g)
		f.oldest = (f.oldest + 1) % treesMax
		f.grown = min(f.grown+1, treesMax)
	}
}

// score is the anomaly of v: 2 to the power of minus its mean path over that of a random tree; near 1 for what is alone at once,
// below 0.5 for what is like the rest.
func (f *forest) score(v *vector) float64 {
	if f.grown == 0 {
		return 0
	}
	sum := 0.0
	for i := range f.grown {
		sum += f.trees[i].path(v)
	}
	return math.Exp2(-sum / float64(f.grown) / averagePath(sampleMax))
}
