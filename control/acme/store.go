package acme

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/yumen-io/yumen/control/certs"
	"github.com/yumen-io/yumen/control/file"
)

// store is the part of the folder that belongs to one directory:
//
//	account.key    the account's private key, PEM
//	account.json   its URL and what the authority knows about it
//	NAME-HASH.pem  for each group the key and the chain in one file, so that they are replaced together
//	order.lock     who may order; see lease
//	*.damaged      what could not be read, *.gone what the authority no longer accepts; kept for whoever wants to know why
//
// A file is written under another name, synced and renamed: after a crash it is the old or the new one. Everything is for
// the owner alone. Writing needs the lease.
type store struct {
	path string
}

const (
	dirMode  = 0o700
	fileMode = 0o600
)

// errDamaged marks a file that is there and does not hold what it should.
var errDamaged = errors.New("the file is damaged")

// openStore makes the folder for a directory.
func openStore(folder, directory string) (*store, error) {
	s := &store{path: filepath.Join(folder, folderName(directory))}
	if err := os.MkdirAll(s.path, dirMode); err != nil {
		return nil, fmt.Errorf("make the folder for certificates: %w", err)
	}
	return s, nil
}

// folderName is the directory's host and path as far as a file name may hold them, and a hash for the rest.
func folderName(directory string) string {
	readable := directory
	if u, err := url.Parse(directory); err == nil {
		readable = u.Host + u.Path
	}
	return clean(readable) + "-" + shortHash(directory)
}

// fileName is the file of a group, whatever the order of its names.
func fileName(names []string) string {
	if len(names) == 0 {
		return ""
	}
	sorted := slices.Sorted(slices.Values(names))
	return clean(sorted[0]) + "-" + shortHash(strings.Join(sorted, " ")) + ".pem"
}

func clean(name string) string {
	name = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '.' {
			return r
		}
		return '-'
	}, strings.ToLower(name))
	return strings.Trim(name[:min(len(name), 80)], "-.")
}

func shortHash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:4])
}

// certificate returns the stored certificate of a group as of now, nil if there is none. An error that wraps errDamaged is
// about the file.
func (s *store) certificate(names []string, now time.Time) (*tls.Certificate, error) {
	path := filepath.Join(s.path, fileName(names))
	text, err := file.Read(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	cert, err := certs.Parse(certs.Pair{Cert: path, Key: path}, text, text, now)
	if errors.Is(err, certs.ErrExpired) || errors.Is(err, certs.ErrNotYetValid) {
		return nil, err
	}
	if err == nil {
		err = carries(cert.Leaf, names)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errDamaged, err)
	}
	return cert, nil
}

// carries tells whether the certificate is for all the names.
func carries(leaf *x509.Certificate, names []string) error {
	for _, name := range names {
		if err := leaf.VerifyHostname(name); err != nil {
			return err
		}
	}
	return nil
}

// putCertificate stores the PEM text of a group's key and chain.
func (s *store) putCertificate(names []string, text []byte) error {
	return s.put(fileName(names), text)
}

// account is what is known of the account.
type account struct {
	Directory string `json:"directory"`
	URL       string `json:"url"`             // which is its name in requests
	Email     string `json:"email,omitempty"` // that the authority knows
	Terms     string `json:"terms,omitempty"` // that were accepted when it was made
}

const (
	accountFile    = "account.json"
	accountKeyFile = "account.key"
)

// account returns the stored account of the directory, the zero account if there is none.
func (s *store) account(directory string) (account, error) {
	text, err := file.Read(filepath.Join(s.path, accountFile))
	if errors.Is(err, fs.ErrNotExist) {
		return account{}, nil
	}
	if err != nil {
		return account{}, err
	}
	return parseAccount(text, directory)
}

func parseAccount(text []byte, directory string) (account, error) {
	var a account
	if err := json.Unmarshal(text, &a); err != nil {
		return account{}, fmt.Errorf("%w: %w", errDamaged, err)
	}
	if u, err := url.Parse(a.URL); err != nil || u.Scheme != "https" || a.Directory != directory {
		return account{}, fmt.Errorf("%w: it is the account %q of %q", errDamaged, a.URL, a.Directory)
	}
	return a, nil
}

func (s *store) putAccount(a account) error {
	text, err := json.MarshalIndent(a, "", "  ")
	if err != nil {
		return err
	}
	return s.put(accountFile, append(text, '\n'))
}

// accountKey returns the stored key, nil if there is none.
func (s *store) accountKey() (crypto.Signer, error) {
	text, err := file.Read(filepath.Join(s.path, accountKeyFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return parseAccountKey(text)
}

func parseAccountKey(text []byte) (crypto.Signer, error) {
	b, _ := pem.Decode(text)
	if b == nil {
		return nil, fmt.Errorf("%w: no PEM block in it", errDamaged)
	}
	key, err := x509.ParsePKCS8PrivateKey(b.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errDamaged, err)
	}
	ec, ok := key.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%w: it holds no ECDSA key", errDamaged)
	}
	return ec, nil
}

// newAccountKey makes and stores a key.
func (s *store) newAccountKey() (crypto.Signer, error) {
	key, text, err := newKey()
	if err != nil {
		return nil, err
	}
	return key, s.put(accountKeyFile, text)
}

// newKey makes a key and its PEM text. P-256 is what every client and authority takes, and the cheapest to sign with.
func newKey() (crypto.Signer, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	return key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// setAside gives a file another name, so that it is no longer used. One from before makes room; it was no more use.
func (s *store) setAside(name, why string) error {
	path := filepath.Join(s.path, name)
	if err := os.Rename(path, path+"."+why); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return syncFolder(s.path)
}

// put puts a file into its place.
func (s *store) put(name string, text []byte) error {
	path := filepath.Join(s.path, name)
	f, err := os.OpenFile(path+".unfinished", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, fileMode)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return syncFolder(s.path)
}

// syncFolder makes a rename survive a crash.
func syncFolder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
