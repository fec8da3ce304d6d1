package acme

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// An authority that has forgotten the account gets a new one, one that was deactivated a new key as well.
func TestAccountThatIsGone(t *testing.T) {
	for _, c := range []struct {
		name string
		lose func(a *authority, s *stage)
		said string
	}{
		{"forgotten", func(a *authority, _ *stage) { a.reset(0, false) }, "does not know the account"},
		{"deactivated", func(_ *authority, s *stage) {
			client := s.newClient()
			do(s.t, s.signIn(context.Background(), client))
			do(s.t, client.DeactivateReg(context.Background()))
			client.HTTPClient.CloseIdleConnections()
		}, "was deactivated or revoked"},
		{"deactivated, and its record lost", func(_ *authority, s *stage) {
			client := s.newClient()
			do(s.t, s.signIn(context.Background(), client))
			do(s.t, client.DeactivateReg(context.Background()))
			client.HTTPClient.CloseIdleConnections()
			do(s.t, os.Remove(filepath.Join(s.store.path, accountFile)))
		}, "was deactivated or revoked"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := newAuthority(t, 0)
			s := newStage(t, a, t.TempDir(), nil).start()
			s.idle()
			first := s.one()
			c.lose(a, s)
			s.pass(life * 7 / 10)
			s.idle()
			s.want(StateReady, 0)
			if s.one().Equal(first) || !strings.Contains(s.said(), c.said) {
				t.Error(s.said())
			}
		})
	}
}

func TestExternalAccount(t *testing.T) {
	a := newAuthority(t, 0)
	a.reset(0, true)
	do(t, a.AddExternalAccount("kid-1", "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"))
	s := newStage(t, a, t.TempDir(), nil).start()
	s.idle()
	s.want(StateFailing, 1, "asks for an external account")
	key := []byte{0xcd, 0x63, 0x43, 0x64, 0xce, 0x9e, 0x40, 0x61, 0xd6, 0xa5, 0x24, 0x53, 0x3d, 0xa9, 0x79, 0x78, 0x85, 0x18, 0x15, 0x3b, 0xbb, 0x11,
		0xa8, 0xd5, 0x22, 0x88, 0x2e, 0xca, 0xca, 0x99, 0xf7, 0x01, 0xb8, 0xe2, 0x73, 0x04, 0xb7, 0x1d, 0xcc, 0x50, 0x0b, 0x14, 0x0e, 0x43, 0x13, 0x43, 0x5d, 0x96}
	s = newStage(t, a, t.TempDir(), func(c *Config) { c.Binding = &Binding{KeyID: "kid-1", Key: key} }).start()
	s.idle()
	s.want(StateReady, 0)
}

// A new email reaches the authority with the next order.
func TestNewEmail(t *testing.T) {
	a := newAuthority(t, 0)
	folder := t.TempDir()
	s := newStage(t, a, folder, nil).start()
	s.idle()
	s.Manager.Stop()
	s = newStage(t, a, folder, func(c *Config) { c.Email, c.Groups = "you@site.test", [][]string{{"next.test"}} }).start()
	s.idle()
	s.want(StateReady, 0)
	client := s.newClient()
	do(t, s.signIn(context.Background(), client))
	reg, err := client.GetReg(context.Background(), "")
	do(t, err)
	client.HTTPClient.CloseIdleConnections()
	if fmt.Sprint(reg.Contact) != "[mailto:you@site.test]" {
		t.Errorf("contact %v", reg.Contact)
	}
}
