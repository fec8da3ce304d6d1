package acme

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Nobody but the owner may read what is kept.
func TestFilesAreTheOwnersAlone(t *testing.T) {
	s := newStage(t, newAuthority(t, 0), filepath.Join(t.TempDir(), "acme"), nil).start()
	s.idle()
	var names []string
	do(t, filepath.Walk(s.config.Folder, func(path string, info os.FileInfo, err error) error {
		do(t, err)
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		if !info.IsDir() {
			names = append(names, filepath.Base(path))
		}
		return nil
	}))
	if got, want := fmt.Sprint(names), "[account.json account.key order.lock site.test-"; !strings.HasPrefix(got, want) || len(names) != 4 {
		t.Errorf("files %s", got)
	}
}

// What a process left behind that died while ordering, or whose clock was wrong.
func TestLeaseOfTheDead(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	path := filepath.Join(t.TempDir(), "order.lock")
	mine := &lease{path, "me"}
	for _, c := range []struct {
		text string
		free bool
	}{
		{"", true}, {"{}\n", true}, {"{\"owner\":", true},
		{`{"owner":"other","until":"2026-03-01T12:03:00Z"}`, false},
		{`{"owner":"other","until":"2026-03-01T12:00:00Z"}`, true},
		{`{"owner":"other","until":"2036-03-01T12:00:00Z"}`, true},
		{`{"owner":"me","until":"2026-03-01T12:03:00Z"}`, true},
	} {
		do(t, os.WriteFile(path, []byte(c.text), 0o600))
		err := mine.take(now)
		var leased *errLeased
		if (err == nil) != c.free || err != nil && (!errors.As(err, &leased) || leased.Owner != "other") {
			t.Errorf("%s: %v", c.text, err)
		}
		if err == nil {
			if err := (&lease{path, "you"}).take(now.Add(leaseTime - 1)); !errors.As(err, &leased) {
				t.Errorf("taken twice: %v", err)
			}
			do(t, (&lease{path, "you"}).release()) // not his to give back
			do(t, mine.take(now))
			do(t, mine.release())
			do(t, (&lease{path, "you"}).take(now))
		}
	}
}

func TestDamagedFiles(t *testing.T) {
	a := newAuthority(t, 0)
	for _, c := range []struct {
		file             string
		text             string
		orders, accounts int32 // that it costs, with requests for an account that finds the one there is
		said             string
	}{
		{accountKeyFile, "hello", 1, 1, "the key of the ACME account is damaged"},
		{accountKeyFile, "", 1, 1, "the key of the ACME account is damaged"},
		{accountFile, "{", 1, 1, "the record of the ACME account is damaged"},
		{accountFile, `{"directory":"https://else.test","url":"https://else.test/1"}`, 1, 1, "the record of the ACME account is damaged"},
		{"order.lock", "\x00\x00", 1, 0, "issued"},
		{fileName([]string{"site.test"}), "hello", 1, 0, "a stored certificate cannot be used"},
		{fileName([]string{"site.test"}), "", 1, 0, "a stored certificate cannot be used"},
	} {
		t.Run(c.file, func(t *testing.T) {
			folder := t.TempDir()
			s := newStage(t, a, folder, nil).start()
			s.idle()
			s.Manager.Stop()
			orders, accounts := a.Orders.Load(), a.Accounts.Load()
			do(t, os.WriteFile(filepath.Join(s.store.path, c.file), []byte(c.text), 0o600))
			// Due, so that everything is needed.
			s = newStage(t, a, folder, nil)
			s.mu.now = s.mu.now.Add(life * 9 / 10)
			s.start()
			s.idle()
			s.want(StateReady, 0)
			if o, acc := a.Orders.Load()-orders, a.Accounts.Load()-accounts; o != c.orders || acc != c.accounts {
				t.Errorf("%d orders, %d accounts, want %d, %d", o, acc, c.orders, c.accounts)
			}
			if !strings.Contains(s.said(), c.said) {
				t.Errorf("said %s\nwant %s", s.said(), c.said)
			}
			if c.file != "order.lock" {
				if kept, err := os.ReadFile(filepath.Join(s.store.path, c.file+".damaged")); err != nil || string(kept) != c.text {
					t.Errorf("set aside: %q, %v", kept, err)
				}
			}
		})
	}
}

func TestFolderThatCannotBeWritten(t *testing.T) {
	a := newAuthority(t, 0)
	folder := t.TempDir()
	do(t, os.WriteFile(filepath.Join(folder, "file"), nil, 0o600))
	if _, err := New(newStage(t, a, filepath.Join(folder, "file"), nil).config); err == nil || !strings.Contains(err.Error(), "make the folder for certificates") {
		t.Errorf("error %v", err)
	}
	s := newStage(t, a, folder, nil).make()
	do(t, os.RemoveAll(s.store.path))
	s.Start()
	defer s.Stop()
	s.idle()
	s.want(StateFailing, 1, "take the lease to order")
}

func FuzzStoredFiles(f *testing.F) {
	_, key, err := newKey()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(key)
	f.Add([]byte(`{"directory":"https://a.test/dir","url":"https://a.test/1"}`))
	f.Add([]byte(`{"owner":"x","until":"2026-03-01T12:03:00Z"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		if k, err := parseAccountKey(text); (k == nil) == (err == nil) {
			t.Errorf("key %v, error %v", k, err)
		}
		if a, err := parseAccount(text, "https://a.test/dir"); err == nil && !strings.HasPrefix(a.URL, "https:") {
			t.Errorf("account %+v", a)
		}
		parseLease(text)
	})
}
