package control

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// descriptorsUnlimited stands for a limit that is beyond any use.
const descriptorsUnlimited = 1 << 30

// raiseDescriptors raises the number of descriptors this process may open to what it may at most, and returns it. Low soft
// limits are for programs that use select.
func raiseDescriptors() (int, error) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0, fmt.Errorf("ask how many descriptors may be open: %w", err)
	}
	if limit.Cur < limit.Max {
		raised := unix.Rlimit{Cur: limit.Max, Max: limit.Max}
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &raised); err == nil {
			limit = raised
		} // or not: darwin has a limit of its own below an unlimited one
	}
	return int(min(limit.Cur, descriptorsUnlimited)), nil
}

// connectionsMax is how many connections from clients all listeners may hold together: what the document says, but by
// default half of the descriptors, because each request may need a connection to an upstream too.
func connectionsMax(said, descriptors int) int {
	if said > 0 {
		return said
	}
	return descriptors / 2
}
