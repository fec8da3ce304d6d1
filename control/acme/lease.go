package acme

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// lease is the right to order, which the processes that share a folder pass around. It stands in a file that is never
// removed: a lock on the file makes reading and writing it one step, and is held for that step alone, so that a process
// that hangs keeps others waiting until the end of its lease and no longer.
type lease struct {
	path  string
	owner string // says which process to look at, and which Manager in it
}

// leaseRecord is what stands in the file; the zero record says that nobody has the lease.
type leaseRecord struct {
	Owner string    `json:"owner"`
	Until time.Time `json:"until"`
}

const (
	// leaseTime is longer than an order may take, so that nobody orders while another does.
	leaseTime = orderTimeout + time.Minute
	// leaseBytesMax is more than a lease is long.
	leaseBytesMax = 4096
)

// errLeased says that another has the lease.
type errLeased struct{ leaseRecord }

func (e *errLeased) Error() string {
	return fmt.Sprintf("%s is ordering in the same folder, until %s at the latest",
		e.Owner, e.Until.UTC().Format(time.RFC3339))
}

// take takes the lease, or returns errLeased.
func (l *lease) take(now time.Time) error {
	return l.change(func(r leaseRecord) (leaseRecord, error) {
		// One that ends too late was written by a clock that is wrong, here or there; waiting for it could take years.
		if r.Owner != "" && r.Owner != l.owner && now.Before(r.Until) && r.Until.Sub(now) <= 2*leaseTime {
			return r, &errLeased{r}
		}
		return leaseRecord{l.owner, now.Add(leaseTime)}, nil
	})
}

// release gives the lease back, unless another has taken it over.
func (l *lease) release() error {
	return l.change(func(r leaseRecord) (leaseRecord, error) {
		if r.Owner == l.owner {
			r = leaseRecord{}
		}
		return r, nil
	})
}

// change reads the record and writes what becomes of it.
func (l *lease) change(become func(leaseRecord) (leaseRecord, error)) (err error) {
	f, err := os.OpenFile(l.path, os.O_RDWR|os.O_CREATE, fileMode)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }() // which unlocks it
	if err := flock(f); err != nil {
		return fmt.Errorf("lock %s: %w", l.path, err)
	}
	text, err := io.ReadAll(io.LimitReader(f, leaseBytesMax))
	if err != nil {
		return err
	}
	next, err := become(parseLease(text))
	if err != nil {
		return err
	}
	if text, err = json.Marshal(next); err != nil {
		return err
	}
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err = f.WriteAt(append(text, '\n'), 0)
	return err
}

// parseLease returns the zero record for a text that is none: whoever wrote it died in the middle, without a lease.
func parseLease(text []byte) leaseRecord {
	var r leaseRecord
	if json.Unmarshal(text, &r) != nil {
		return leaseRecord{}
	}
	return r
}

func flock(f *os.File) error {
	for {
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != unix.EINTR {
			return err
		}
	}
}
