package keyvault

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"

	"farshore/dataplane/vault"
	"farshore/fault"
)

const (
	tries      = 4 // after the first
	tryTimeout = 15 * time.Second
	firstRetry = 200 * time.Millisecond
	lastRetry  = 2 * time.Second
)

// Keys wraps and unwraps. It is a [vault.Wrapper].
type Keys struct {
	Credential azcore.TokenCredential
	Key        string // URL of the key to wrap with: https://NAME.vault.azure.net/keys/KEY, with or without /VERSION; unwrapping needs none

	Transport policy.Transporter // nil: the SDK's own, by the proxy of the environment
}

// place is a key's URL in parts.
type place struct {
	vault, name, version string
	loopback             bool
}

func parse(key string) (place, error) {
	u, err := url.Parse(key)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return place{}, fmt.Errorf("%q is no URL of a key: want https://NAME.vault.azure.net/keys/KEY/VERSION", key)
	}
	parts := strings.Split(strings.Trim(u.Path, "/"), "/")
	if len(parts) < 2 || len(parts) > 3 || parts[0] != "keys" || parts[1] == "" {
		return place{}, fmt.Errorf("%q is no URL of a key: want https://NAME.vault.azure.net/keys/KEY/VERSION", key)
	}
	ip := net.ParseIP(u.Hostname())
	p := place{vault: "https://" + u.Host, name: parts[1], loopback: u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()}
	if len(parts) == 3 {
		p.version = parts[2]
	}
	return p, nil
}

func (k Keys) client(p place) (*azkeys.Client, error) {
	return azkeys.NewClient(p.vault, k.Credential, &azkeys.ClientOptions{
		ClientOptions: policy.ClientOptions{
			Transport: k.Transport,
			Retry:     policy.RetryOptions{MaxRetries: tries, TryTimeout: tryTimeout, RetryDelay: firstRetry, MaxRetryDelay: lastRetry},
			Telemetry: policy.TelemetryOptions{ApplicationID: "farshore"},
		},
		DisableChallengeResourceVerification: p.loopback, // the lab's has no name in Azure's domain
	})
}

// Wrap wraps a secret with the newest version of the key, or with the one that is named. The error is a *fault.Fault.
func (k Keys) Wrap(ctx context.Context, secret []byte) (wrapped []byte, by string, err error) {
	p, err := parse(k.Key)
	if err != nil {
		return nil, "", refused(k.Key, err)
	}
	client, err := k.client(p)
	if err != nil {
		return nil, "", refused(k.Key, err)
	}
	r, err := client.WrapKey(ctx, p.name, p.version, azkeys.KeyOperationParameters{Algorithm: to.Ptr(azkeys.EncryptionAlgorithmRSAOAEP256), Value: secret}, nil)
	if err != nil {
		return nil, "", trouble(k.Key, err)
	}
	if r.KID == nil || r.KID.Version() == "" || len(r.Result) == 0 {
		return nil, "", refused(k.Key, errors.New("its answer names no version of the key"))
	}
	return r.Result, string(*r.KID), nil
}

// Unwrap unwraps what a version of a key wrapped. The error is a *fault.Fault.
func (k Keys) Unwrap(ctx context.Context, by string, wrapped []byte) ([]byte, error) {
	p, err := parse(by)
	if err == nil && p.version == "" {
		err = fmt.Errorf("%q names no version", by)
	}
	if err != nil {
		return nil, refused(by, err)
	}
	client, err := k.client(p)
	if err != nil {
		return nil, refused(by, err)
	}
	r, err := client.UnwrapKey(ctx, p.name, p.version, azkeys.KeyOperationParameters{Algorithm: to.Ptr(azkeys.EncryptionAlgorithmRSAOAEP256), Value: wrapped}, nil)
	if err != nil {
		return nil, trouble(by, err)
	}
	return r.Result, nil
}

var _ vault.Wrapper = Keys{}

// trouble tells a Key Vault that says no from one that says nothing.
func trouble(key string, err error) error {
	var answer *azcore.ResponseError
	if errors.As(err, &answer) && answer.StatusCode != http.StatusTooManyRequests && answer.StatusCode < http.StatusInternalServerError {
		return refused(key, fmt.Errorf("it answers %d %s", answer.StatusCode, answer.ErrorCode)) // its own text has many lines
	}
	return &fault.Fault{
		Code: "FS-3020", Kind: fault.Transient, Subject: "key " + key, What: "Key Vault, or whoever gives tokens for it, does not answer",
		Remedy: "check the network from here to it, and the credential; meanwhile the recovery key opens everything", Err: err,
	}
}

func refused(key string, err error) error {
	return &fault.Fault{
		Code: "FS-3021", Kind: fault.Operator, Subject: "key " + key, What: "Key Vault does not do it",
		Remedy: "check that the key is an RSA key that may wrap and unwrap, that this version is enabled, and that the identity has the role Key Vault Crypto User; " +
			"meanwhile the recovery key opens everything", Err: err,
	}
}
