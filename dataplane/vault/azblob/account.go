package azblob

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
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/bloberror"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/service"

	"farshore/dataplane/vault"
	"farshore/fault"
)

const (
	// emulatorVersion is the newest service version that both Azurite 3.35 and 3.37 know.
	emulatorVersion = "2025-11-05"

	tryTimeout  = 30 * time.Second // of a request that carries nothing
	slowestRate = 256 << 10        // bytes per second below which a try is given up
	tries       = 2                // after the first, inside one call; long retries are the caller's
	connections = 64
	pageSize    = 5000 // names in one page of a listing
)

// Account says where a vault is and who asks. Exactly one of Key and Token is set.
type Account struct {
	Endpoint string // https://NAME.blob.core.windows.net; for an emulator http://127.0.0.1:PORT or http://127.0.0.1:PORT/NAME
	Name     string // of the storage account
	Prefix   string // of the names of its containers; may be empty
	Key      *service.SharedKeyCredential
	Token    azcore.TokenCredential
	PageSize int // of listings; 0: the service's greatest

	// Proxy says which HTTP proxy a request goes through; nil: what the environment says.
	Proxy func(*http.Request) (*url.URL, error)

	transport policy.Transporter // nil: HTTP
}

// account is what stores and replicas share.
type account struct {
	where      string
	emulator   bool
	pageSize   int32
	service    *service.Client
	containers map[vault.Container]*container.Client
}

// versionPolicy overwrites the service version; it runs before the request is signed.
type versionPolicy struct{}

func (versionPolicy) Do(r *policy.Request) (*http.Response, error) {
	r.Raw().Header["x-ms-version"] = []string{emulatorVersion} // as the SDK writes it: not canonical
	return r.Next()
}

// isEmulator tells Azurite from Azure: only an emulator listens on this very machine.
func isEmulator(u *url.URL) bool {
	ip := net.ParseIP(u.Hostname())
	return u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
}

func connect(a Account) (*account, error) {
	u, err := url.Parse(a.Endpoint)
	if err != nil || u.Host == "" {
		return nil, fmt.Errorf("the endpoint %q is no URL", a.Endpoint)
	}
	emulator := isEmulator(u)
	base := strings.TrimSuffix(a.Endpoint, "/")
	if emulator && strings.Trim(u.Path, "/") == "" {
		base += "/" + a.Name
	}
	options := &service.ClientOptions{ClientOptions: policy.ClientOptions{
		Transport: a.transport,
		Retry:     policy.RetryOptions{MaxRetries: tries},
		Telemetry: policy.TelemetryOptions{ApplicationID: "farshore"},
	}}
	if options.Transport == nil {
		options.Transport = HTTP(a.Proxy)
	}
	if emulator {
		options.PerCallPolicies = append(options.PerCallPolicies, versionPolicy{})
		options.InsecureAllowCredentialWithHTTP = u.Scheme == "http"
	}
	client, err := a.client(base, options)
	if err != nil {
		return nil, err
	}
	c := &account{
		where: base, emulator: emulator, pageSize: int32(min(max(a.PageSize, 0), pageSize)), service: client,
		containers: map[vault.Container]*container.Client{},
	}
	for _, name := range vault.Containers() {
		c.containers[name] = client.NewContainerClient(a.Prefix + string(name))
	}
	return c, nil
}

func (a Account) client(base string, options *service.ClientOptions) (*service.Client, error) {
	if a.Key != nil {
		return service.NewClientWithSharedKeyCredential(base, a.Key, options)
	}
	if a.Token == nil {
		return nil, errors.New("neither a key nor a token credential is given")
	}
	return service.NewClient(base, a.Token, options)
}

// HTTP makes the client that requests to an account go through.
func HTTP(proxy func(*http.Request) (*url.URL, error)) *http.Client {
	if proxy == nil {
		proxy = http.ProxyFromEnvironment
	}
	dialer := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 15 * time.Second}
	return &http.Client{Transport: &http.Transport{
		Proxy: proxy, DialContext: dialer.DialContext, TLSHandshakeTimeout: 10 * time.Second,
		MaxIdleConns: connections, MaxIdleConnsPerHost: connections, IdleConnTimeout: 90 * time.Second,
	}}
}

// Open opens a vault that [Create] made.
func Open(ctx context.Context, a Account) (vault.Store, vault.Replicas, error) {
	c, err := connect(a)
	if err != nil {
		return nil, nil, c.unusable(a, err)
	}
	for _, name := range vault.Containers() {
		_, err := c.containers[name].GetProperties(timed(ctx, 0), nil)
		if bloberror.HasCode(err, bloberror.ContainerNotFound, bloberror.ResourceNotFound) {
			return nil, nil, &fault.Fault{
				Code: "FS-3006", Kind: fault.Operator, Subject: "vault " + c.where,
				What:   fmt.Sprintf("there is no container %s%s: this is no vault", a.Prefix, name),
				Remedy: "check the account, or run: farshore-control init", Err: err,
			}
		}
		if err != nil {
			return nil, nil, c.trouble(ctx, "look at container "+a.Prefix+string(name), err)
		}
	}
	return &store{c}, &replicas{c}, nil
}

// Create makes the containers of a new vault. Those that are there already are kept.
func Create(ctx context.Context, a Account) error {
	c, err := connect(a)
	if err != nil {
		return c.unusable(a, err)
	}
	for _, name := range vault.Containers() {
		_, err := c.containers[name].Create(timed(ctx, 0), nil)
		if err != nil && !bloberror.HasCode(err, bloberror.ContainerAlreadyExists) {
			return c.trouble(ctx, "make container "+a.Prefix+string(name), err)
		}
	}
	return nil
}

func (*account) unusable(a Account, err error) error {
	return &fault.Fault{
		Code: "FS-3005", Kind: fault.Operator, Subject: "vault " + a.Endpoint, What: "its account cannot be used",
		Remedy: "correct endpoint, account and credential in the configuration", Err: err,
	}
}

// timed gives each try of a call the time that its bytes need on a slow line. Without it a dead connection hangs for ever.
func timed(ctx context.Context, carried int64) context.Context {
	return policy.WithRetryOptions(ctx, retries(carried))
}

// surely is timed for page writes: a try is repeated only if the service says that it did nothing. One that got no answer
// may still arrive, after a later write to the same place; the caller must fence before it writes again.
func surely(ctx context.Context, carried int64) context.Context {
	o := retries(carried)
	o.ShouldRetry = func(r *http.Response, _ error) bool {
		return r != nil && (r.StatusCode == http.StatusServiceUnavailable || r.StatusCode == http.StatusTooManyRequests)
	}
	return policy.WithRetryOptions(ctx, o)
}

// readily is timed for create-only puts: an account that is at its limits is not asked again inside the call. Whoever shares
// the account among many must hear of it at once, and waits better.
func readily(ctx context.Context, carried int64) context.Context {
	o := retries(carried)
	o.ShouldRetry = func(r *http.Response, err error) bool {
		switch {
		case err != nil:
			return true
		case r.StatusCode == http.StatusRequestTimeout, r.StatusCode == http.StatusBadGateway, r.StatusCode == http.StatusGatewayTimeout:
			return true
		}
		return r.StatusCode == http.StatusInternalServerError && r.Header.Get("x-ms-error-code") != string(bloberror.OperationTimedOut)
	}
	return policy.WithRetryOptions(ctx, o)
}

func retries(carried int64) policy.RetryOptions {
	return policy.RetryOptions{
		MaxRetries: tries, RetryDelay: 200 * time.Millisecond, MaxRetryDelay: 5 * time.Second,
		TryTimeout: tryTimeout + time.Duration(carried)*time.Second/slowestRate,
	}
}
