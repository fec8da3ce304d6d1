package basicauth

import (
	"bytes"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/yumen-io/yumen/policy/identity"
	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
)

// Bounds on what a hash may cost (hash_cost): a line of the file must not be able to stop the gateway.
const (
	bcryptCostMax  = 14        // a second of CPU
	argonMemoryMax = 256 << 10 // KiB
	argonTimeMax   = 16
	argonLanesMax  = 16
	argonBytesMax  = 64 // of salt and of sum
)

// Users are names and hashes. They are frozen.
type Users struct {
	of   map[string]*user
	list []*user // in the order of the file
}

type user struct {
	id     *identity.Identity
	bcrypt []byte // or
	argon  *argon
}

// argon is a hash of Argon2id (RFC 9106) with its parameters.
type argon struct {
	memory, time uint32
	lanes        uint8
	salt, sum    []byte
}

// Len is the number of users.
func (u *Users) Len() int { return len(u.list) }

// ParseFile reads a file as htpasswd writes it: name:hash, one to a line; # begins a line that means nothing. The first line that is wrong
// fails the file. The error is an *identity.LineError and has no hash in it.
func ParseFile(text []byte) (*Users, error) {
	users := &Users{of: map[string]*user{}}
	for line := 1; len(text) > 0; line++ {
		var row []byte
		row, text, _ = bytes.Cut(text, []byte("\n"))
		said := strings.TrimSpace(string(row))
		if said == "" || said[0] == '#' {
			continue
		}
		name, hash, ok := strings.Cut(said, ":")
		u := &user{}
		err := errors.New("there is no colon: write name:hash, as htpasswd does")
		if ok {
			u.id, err = identity.New(name, nil)
		}
		switch {
		case err != nil:
		case users.of[name] != nil:
			err = fmt.Errorf("the user %q is there twice", name)
		case len(users.list) >= identity.ConsumersMax:
			err = fmt.Errorf("there are more than %d users", identity.ConsumersMax)
		default:
			err = u.take(hash)
		}
		if err != nil {
			return nil, &identity.LineError{Line: line, Cause: err.Error()}
		}
		users.of[name], users.list = u, append(users.list, u)
	}
	return users, nil
}

// take reads a hash. htpasswd may write more fields behind it, which mean nothing here.
func (u *user) take(hash string) (err error) {
	hash, _, _ = strings.Cut(hash, ":")
	switch {
	case strings.HasPrefix(hash, "$2a$"), strings.HasPrefix(hash, "$2b$"), strings.HasPrefix(hash, "$2y$"):
		cost, err := bcrypt.Cost([]byte(hash))
		if err != nil || len(hash) != 60 {
			return fmt.Errorf("the hash of %q is no bcrypt hash", u.id.Name())
		}
		if cost > bcryptCostMax {
			return fmt.Errorf("the hash of %q costs too much: bcrypt with %d, at most %d", u.id.Name(), cost, bcryptCostMax)
		}
		u.bcrypt = []byte(hash)
		return nil
	case strings.HasPrefix(hash, "$argon2id$"):
		if u.argon, err = parseArgon(hash); err != nil {
			return fmt.Errorf("the hash of %q: %w", u.id.Name(), err)
		}
		return nil
	}
	return fmt.Errorf("the hash of %q is neither bcrypt nor Argon2id: make it anew with htpasswd -B", u.id.Name())
}

// parseArgon reads $argon2id$v=19$m=65536,t=3,p=4$SALT$SUM, the form of the reference implementation.
func parseArgon(hash string) (*argon, error) {
	part := strings.Split(hash, "$")
	if len(part) != 6 {
		return nil, errors.New("it is no Argon2id hash: write $argon2id$v=19$m=65536,t=3,p=4$SALT$SUM")
	}
	if part[2] != "v="+strconv.Itoa(argon2.Version) {
		return nil, fmt.Errorf("only version %d of Argon2id is known", argon2.Version)
	}
	a := &argon{}
	settings := strings.Split(part[3], ",")
	if len(settings) != 3 {
		return nil, errors.New("Argon2id has the parameters m, t and p")
	}
	for i, of := range []struct {
		prefix string
		most   uint64
	}{{"m=", argonMemoryMax}, {"t=", argonTimeMax}, {"p=", argonLanesMax}} {
		text, ok := strings.CutPrefix(settings[i], of.prefix)
		n, err := strconv.ParseUint(text, 10, 32)
		if !ok || err != nil || n == 0 {
			return nil, fmt.Errorf("Argon2id has the parameters m, t and p: %s is none", strconv.Quote(settings[i]))
		}
		if n > of.most {
			return nil, fmt.Errorf("Argon2id costs too much: %s%d, at most %d", of.prefix, n, of.most)
		}
		switch i {
		case 0:
			a.memory = uint32(n)
		case 1:
			a.time = uint32(n)
		default:
			a.lanes = uint8(n)
		}
	}
	var err error
	if a.salt, err = base64.RawStdEncoding.DecodeString(part[4]); err != nil || len(a.salt) < 8 || len(a.salt) > argonBytesMax {
		return nil, fmt.Errorf("the salt of Argon2id has 8 to %d bytes in Base64 without padding", argonBytesMax)
	}
	if a.sum, err = base64.RawStdEncoding.DecodeString(part[5]); err != nil || len(a.sum) < 16 || len(a.sum) > argonBytesMax {
		return nil, fmt.Errorf("the sum of Argon2id has 16 to %d bytes in Base64 without padding", argonBytesMax)
	}
	return a, nil
}

// Verify tells whose name and password these are; nil: nobody's. It takes as long as a slow hash takes. decoy chooses whose hash
// stands in for that of a name that nobody has, so that the time does not tell names apart.
func (u *Users) Verify(name string, password []byte, decoy uint64) *identity.Identity {
	if len(u.list) == 0 {
		return nil
	}
	who, known := u.of[name]
	if !known {
		who = u.list[decoy%uint64(len(u.list))]
	}
	if !who.matches(password) || !known {
		return nil
	}
	return who.id
}

func (u *user) matches(password []byte) bool {
	if a := u.argon; a != nil {
		return subtle.ConstantTimeCompare(argon2.IDKey(password, a.salt, a.time, a.memory, a.lanes, uint32(len(a.sum))), a.sum) == 1
	}
	return bcrypt.CompareHashAndPassword(u.bcrypt, password) == nil
}
