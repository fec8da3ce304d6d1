package limit

// What is under way is counted in the lower half. The upper half numbers the keys that had the word's place, see Renew.
//
//	 63         32 31          0
//	| keys before | under way   |
const concurrencyCountMask = 1<<32 - 1

func underWay(word Word) int64 { return int64(word & concurrencyCountMask) }

func concurrency(word Word, cost, count int64) (Word, Verdict) {
	used := underWay(word)
	v := Verdict{Limit: count, Used: used, Remaining: max(count-used, 0)}
	if cost > count-used {
		return word, v
	}
	v.Allowed, v.Used, v.Remaining = true, used+cost, count-used-cost
	return word + Word(cost), v
}

// release gives back. More than is under way is a mistake that must not wrap into the upper half.
func release(word Word, cost int64) Word { return word - Word(min(cost, underWay(word))) }

// renewConcurrency wraps before it can reach the word Gone.
func renewConcurrency(old Word) Word {
	keys := old>>32 + 1
	if keys >= 1<<32-1 {
		keys = 0
	}
	return keys << 32
}
