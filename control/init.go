package control

import (
	"context"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"farshore"
	"farshore/control/audit"
	"farshore/control/authority"
	"farshore/control/nodes"
	"farshore/dataplane/credential"
	"farshore/dataplane/vault"
	"farshore/dataplane/vault/connect"
	"farshore/fault"
)

// Begun is what a person must keep of a new vault.
type Begun struct {
	Vault        string    `json:"vault,omitempty"`
	CAPin        string    `json:"caPin"`
	VaultKey     string    `json:"vaultKey,omitempty"`    // file: appliers need it
	RecoveryKey  string    `json:"recoveryKey,omitempty"` // file: keep it offline; with it alone everything can be had back
	Operator     string    `json:"operator"`
	Token        string    `json:"token"` // with which the first operator logs in
	TokenExpires time.Time `json:"tokenExpires"`
}

// Init begins a vault: it makes its storage, keys and CA, this server's identity, and a join token for the first operator.
// It refuses a state folder or a storage that was used before. Keys are written to the folder keys.
func Init(ctx context.Context, c Config, operator, keys string) (Begun, error) {
	if err := os.MkdirAll(c.State, 0o700); err != nil {
		return Begun{}, fmt.Errorf("make the state folder: %w", err)
	}
	if _, err := os.Stat(c.caDir()); !errors.Is(err, fs.ErrNotExist) {
		return Begun{}, usedAlready(c, err)
	}
	if err := os.MkdirAll(keys, 0o700); err != nil {
		return Begun{}, fmt.Errorf("make the folder for keys: %w", err)
	}
	store, _, err := connect.Create(ctx, c.Vault)
	if err != nil {
		return Begun{}, err
	}
	ca, err := authority.New(time.Now)
	if err != nil {
		return Begun{}, err
	}
	description, private, err := begin(ctx, store, ca)
	if err != nil {
		return Begun{}, err
	}
	b := Begun{Vault: description.Vault, CAPin: ca.Pin().String(), Operator: operator}
	for _, k := range private {
		path := filepath.Join(keys, string(k.Kind)+".key")
		if err := k.WriteFile(path); err != nil {
			return Begun{}, fmt.Errorf("keep the %v: %w", k, err)
		}
		switch k.Kind {
		case vault.VaultKey:
			b.VaultKey = path
		case vault.RecoveryKey:
			b.RecoveryKey = path
		}
	}
	if err := settle(c, ca); err != nil {
		return Begun{}, err
	}
	b.Token, b.TokenExpires, err = firstToken(c, ca, operator)
	return b, err
}

func usedAlready(c Config, err error) error {
	return &fault.Fault{
		Code: "FS-6021", Kind: fault.Refused, Subject: "state folder " + c.State, What: "it belongs to a vault already",
		Remedy: "run: farshore-control run; for another vault name another folder", Err: err,
	}
}

func begin(ctx context.Context, store vault.Store, ca *authority.Authority) (vault.Description, []vault.PrivateKey, error) {
	own, err := vaultAuthority(ca)
	if err != nil {
		return vault.Description{}, nil, err
	}
	return vault.Init(ctx, store, own, time.Now())
}

// settle makes this server's folder: its identity, then the CA, by which a finished folder is known.
func settle(c Config, ca *authority.Authority) error {
	own, err := credential.Create(c.identityDir(), time.Now)
	if err != nil {
		return err
	}
	if err := ca.Admit(own, c.identity(), c.Hosts...); err != nil {
		return err
	}
	return ca.Save(c.caDir())
}

// firstToken makes a join token before there is a server that could be asked for one.
func firstToken(c Config, ca *authority.Authority, operator string) (text string, expires time.Time, err error) {
	log, err := audit.Open(c.AuditFile(), time.Now)
	if err != nil {
		return "", time.Time{}, err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	registry, err := nodes.Open(nodes.Config{Path: c.nodesFile(), Authority: ca, Audit: log, Now: time.Now, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return "", time.Time{}, err
	}
	defer func() { err = errors.Join(err, registry.Close()) }()
	return newOperator(registry, log, operator)
}

// NewOperator makes a join token for an operator while the server is stopped: the way in when nobody's profile works.
func NewOperator(c Config, operator string) (Begun, error) {
	ca, err := authority.Load(c.caDir(), time.Now)
	if err != nil {
		return Begun{}, err
	}
	b := Begun{CAPin: ca.Pin().String(), Operator: operator}
	b.Token, b.TokenExpires, err = firstToken(c, ca, operator)
	return b, err
}

// newOperator makes a join token for an operator in the name of whoever is root on this host.
func newOperator(registry *nodes.Registry, log *audit.Log, operator string) (string, time.Time, error) {
	q := nodes.TokenRequest{
		For: farshore.Identity{Role: farshore.RoleOperator, Name: operator}, Lifetime: nodes.MaxTokenLifetime, Replace: true,
	}
	entry := audit.Entry{Who: "this host", From: "farshore-control", Call: "CreateJoinToken", Request: fmt.Appendf(nil, "{\"for\":%q}", q.For)}
	if err := log.Append(entry); err != nil {
		return "", time.Time{}, err
	}
	token, expires, err := registry.CreateToken(q)
	if err != nil {
		return "", time.Time{}, err
	}
	return token.Text(), expires, nil
}

// Recover makes a server's state folder again out of a vault and its recovery key. Nodes go on with the certificates they
// have; operators log in with the token.
func Recover(ctx context.Context, c Config, operator, recoveryKey string) (Begun, error) {
	if _, err := os.Stat(c.caDir()); !errors.Is(err, fs.ErrNotExist) {
		return Begun{}, usedAlready(c, err)
	}
	recovery, err := vault.ReadKeyFile(recoveryKey)
	if err != nil {
		return Begun{}, err
	}
	store, _, err := connect.Open(ctx, c.Vault)
	if err != nil {
		return Begun{}, err
	}
	description, err := vault.Load(ctx, store)
	if err != nil {
		return Begun{}, err
	}
	key, err := openCAKey(ctx, store, description, recovery)
	if err != nil {
		return Begun{}, err
	}
	ca, err := authority.FromParts(description.CA, key, time.Now)
	if err != nil {
		return Begun{}, err
	}
	if err := os.MkdirAll(c.State, 0o700); err != nil {
		return Begun{}, fmt.Errorf("make the state folder: %w", err)
	}
	if err := settle(c, ca); err != nil {
		return Begun{}, err
	}
	b := Begun{Vault: description.Vault, CAPin: ca.Pin().String(), Operator: operator, RecoveryKey: recoveryKey}
	b.Token, b.TokenExpires, err = firstToken(c, ca, operator)
	return b, err
}

// openCAKey opens the CA's key with the recovery key of the vault's beginning, or with the one in force.
func openCAKey(ctx context.Context, store vault.Store, d vault.Description, recovery vault.PrivateKey) (*ecdsa.PrivateKey, error) {
	if !d.Recipients.Has(recovery) {
		rotated, err := d.Rotated(ctx, store)
		if err != nil {
			return nil, err
		}
		d = rotated
	}
	return d.OpenCAKey(recovery)
}
