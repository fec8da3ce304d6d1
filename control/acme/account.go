package acme

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/crypto/acme"
)

// begin opens an order with an account, made if there is none. An account that the authority no longer knows or accepts is
// replaced, once.
func (m *Manager) begin(ctx context.Context, client *acme.Client, names []string) (*acme.Order, error) {
	for second := false; ; second = true {
		order, err := m.open(ctx, client, names)
		if err == nil || second {
			return order, err
		}
		gone, goneErr := m.accountGone(ctx, client, err)
		if goneErr != nil {
			return nil, errors.Join(err, goneErr)
		}
		if !gone {
			return nil, err
		}
	}
}

func (m *Manager) open(ctx context.Context, client *acme.Client, names []string) (*acme.Order, error) {
	if err := m.signIn(ctx, client); err != nil {
		return nil, fmt.Errorf("the account: %w", err)
	}
	order, err := client.AuthorizeOrder(ctx, acme.DomainIDs(names...))
	if err != nil {
		return nil, fmt.Errorf("open the order: %w", err)
	}
	return order, nil
}

// signIn gives the client its key and the URL of its account.
func (m *Manager) signIn(ctx context.Context, client *acme.Client) error {
	key, err := m.store.accountKey()
	if errors.Is(err, errDamaged) {
		// Without its key an account is lost. Another costs nothing, and holds up nobody's certificate.
		m.log.Error("the key of the ACME account is damaged and set aside, there will be a new account",
			"folder", m.store.path, "error", err)
		if err = m.store.setAside(accountKeyFile, "damaged"); err == nil {
			err = m.store.setAside(accountFile, "damaged")
		}
	}
	if err != nil {
		return err
	}
	if key == nil {
		if key, err = m.store.newAccountKey(); err != nil {
			return err
		}
	}
	client.Key, client.KID = key, ""
	known, err := m.store.account(m.cfg.Directory)
	if errors.Is(err, errDamaged) {
		// The authority finds it again by its key.
		m.log.Error("the record of the ACME account is damaged and set aside", "folder", m.store.path, "error", err)
		err = m.store.setAside(accountFile, "damaged")
	}
	if err != nil {
		return err
	}
	if known.URL == "" {
		return m.register(ctx, client)
	}
	client.KID = acme.KeyID(known.URL)
	if known.Email == m.cfg.Email || m.cfg.Email == "" { // the library has no word for "no contact any more"
		return nil
	}
	if _, err := client.UpdateReg(ctx, &acme.Account{Contact: m.contact()}); err != nil {
		return err
	}
	known.Email = m.cfg.Email
	return m.store.putAccount(known)
}

func (m *Manager) contact() []string {
	if m.cfg.Email == "" {
		return []string{}
	}
	return []string{"mailto:" + m.cfg.Email}
}

// register makes an account for the client's key, or finds the one there is.
func (m *Manager) register(ctx context.Context, client *acme.Client) error {
	made := account{Directory: m.cfg.Directory, Email: m.cfg.Email}
	ask := &acme.Account{Contact: m.contact()}
	if b := m.cfg.Binding; b != nil {
		ask.ExternalAccountBinding = &acme.ExternalAccountBinding{KID: b.KeyID, Key: b.Key}
	}
	_, err := client.Register(ctx, ask, func(terms string) bool { made.Terms = terms; return true })
	switch {
	case errors.Is(err, acme.ErrAccountAlreadyExists):
		if _, err := client.UpdateReg(ctx, &acme.Account{Contact: ask.Contact}); err != nil {
			return err
		}
	case err != nil:
		return err
	}
	// The library keeps the URL that the authority gave.
	made.URL = string(client.KID)
	m.log.Info("there is an account with the ACME authority",
		"directory", m.cfg.Directory, "account", made.URL, "terms", made.Terms)
	return m.store.putAccount(made)
}

// accountGone tells whether an order failed because the account is no more, and forgets it then.
func (m *Manager) accountGone(ctx context.Context, client *acme.Client, err error) (bool, error) {
	switch {
	case isKind(err, "accountDoesNotExist"):
		// A new one can be had with the same key.
		m.log.Warn("the ACME authority does not know the account, there will be a new one",
			"directory", m.cfg.Directory, "error", err)
		return true, m.store.setAside(accountFile, "gone")
	case isKind(err, "unauthorized"):
		// It says this of many things. The account is asked for by its key, which works for every account in good standing.
		a, why := client.GetReg(ctx, "")
		if why != nil && !isKind(why, "unauthorized") {
			return false, nil
		}
		if why == nil && a.Status != acme.StatusDeactivated && a.Status != acme.StatusRevoked {
			return false, nil
		}
		m.log.Warn("the ACME account was deactivated or revoked, there will be a new one with a new key",
			"directory", m.cfg.Directory, "error", err)
		return true, errors.Join(m.store.setAside(accountFile, "gone"), m.store.setAside(accountKeyFile, "gone"))
	}
	return false, nil
}
