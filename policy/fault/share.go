package fault

// Share bounds how many of the requests that are seen may be affected. Each that is seen earns a part of one that may be; what was
// earned is not saved up for longer than a hundred requests. So of any n requests in a row at most part*n + max(1, 100*part) are
// affected. The zero value has earned nothing. Not safe for concurrent use: each loop has its own.
type Share struct{ earned float64 }

// savedMax is for how many requests what was earned is saved.
const savedMax = 100

// See notes a request; part is from 0 to 1.
func (s *Share) See(part float64) { s.earned = min(s.earned+part, max(1, savedMax*part)) }

// Take spends one, if it was earned.
func (s *Share) Take() bool {
	// Sums of a part such as 0.1 end a little below one.
	if s.earned < 1-1e-9 {
		return false
	}
	s.earned--
	return true
}
