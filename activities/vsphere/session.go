package vsphere

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"net/url"
	"reflect"
	"strings"
	"sync"
	"time"

	vimfault "github.com/vmware/govmomi/fault"
	"github.com/vmware/govmomi/session"
	"github.com/vmware/govmomi/session/keepalive"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

const (
	// keepAliveEvery is well under the 30 minutes after which vCenter ends an idle session.
	keepAliveEvery = 5 * time.Minute
	// requestTimeout bounds one request: long work is a task, which is asked for again and again.
	requestTimeout = 2 * time.Minute
)

// link is the session at one vCenter. All steps share it.
type link struct {
	name   string
	config VCenter

	mu     sync.Mutex
	client *vim25.Client // nil: not logged in yet
	count  int           // of logins
}

// open gives the client, logged in. A client that is there may have lost its session: the first request begins it again.
func (l *link) open(ctx context.Context) (*vim25.Client, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.client != nil {
		return l.client, nil
	}
	client, err := l.dial(ctx)
	if err != nil {
		return nil, err
	}
	if err := l.login(ctx, client); err != nil {
		return nil, err
	}
	l.client = client
	return client, nil
}

func (l *link) dial(ctx context.Context) (*vim25.Client, error) {
	at, err := url.Parse(l.config.URL)
	if err != nil {
		return nil, unusable(l.name, "its url cannot be understood", err)
	}
	at.Path = vim25.Path
	connection := soap.NewClient(at, false)
	connection.Timeout = requestTimeout
	connection.DefaultTransport().DialTLSContext = nil // govmomi's own heeds no deadline; certificates are looked at by pin
	if l.config.Thumbprint != "" {
		pin(connection.DefaultTransport().TLSClientConfig, l.config.Thumbprint)
	}
	if l.config.CAFile != "" {
		if err := connection.SetRootCAs(l.config.CAFile); err != nil {
			return nil, unusable(l.name, "its caFile cannot be used", err)
		}
	}
	client, err := vim25.NewClient(ctx, connection)
	if err != nil {
		return nil, fmt.Errorf("reach vCenter %s: %w", l.name, err)
	}
	client.RoundTripper = &again{link: l, under: keepalive.NewHandlerSOAP(client.RoundTripper, keepAliveEvery, nil)}
	return client, nil
}

// errOtherCertificate is what a pinned connection ends with.
var errOtherCertificate = errors.New("the certificate is not the one that is pinned")

// pin makes the certificate with the thumbprint, and no other, good. Who signed it and for which name do not matter then.
func pin(settings *tls.Config, thumbprint string) {
	settings.InsecureSkipVerify = true // the connection is verified here instead
	settings.VerifyConnection = func(state tls.ConnectionState) error {
		sum := sha256.Sum256(state.PeerCertificates[0].Raw)
		got := strings.ReplaceAll(fmt.Sprintf("% X", sum), " ", ":")
		if strings.EqualFold(got, thumbprint) {
			return nil
		}
		return fmt.Errorf("%w: it has SHA-256 %s", errOtherCertificate, got)
	}
}

// login begins a session; mu is held.
func (l *link) login(ctx context.Context, client *vim25.Client) error {
	user, err := l.config.user(l.name)
	if err != nil {
		return err
	}
	if err := session.NewManager(client).Login(ctx, user); err != nil {
		return fmt.Errorf("log in to vCenter %s as %s: %w", l.name, l.config.Username, err)
	}
	l.count++
	return nil
}

// renew begins a new session unless somebody has done so since the given login.
func (l *link) renew(ctx context.Context, seen int) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.count != seen || l.client == nil {
		return nil
	}
	return l.login(ctx, l.client)
}

func (l *link) logins() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.count
}

// close ends the session and what keeps it alive.
func (l *link) close(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.client == nil {
		return nil
	}
	err := session.NewManager(l.client).Logout(ctx)
	l.client = nil
	if vimfault.Is(err, &types.NotAuthenticated{}) {
		return nil
	}
	return err
}

// again repeats a request whose session was lost, once, in a new session. Nothing that a session owns is used anywhere in
// this package (no filters, no views), so a request means the same in the next one.
type again struct {
	link  *link
	under soap.RoundTripper
}

// RoundTrip implements [soap.RoundTripper].
func (a *again) RoundTrip(ctx context.Context, request, answer soap.HasFault) error {
	seen := -1
	if !aboutSessions(request) {
		seen = a.link.logins()
	}
	err := a.under.RoundTrip(ctx, request, answer)
	if seen < 0 || !vimfault.Is(err, &types.NotAuthenticated{}) {
		return err
	}
	if err := a.link.renew(ctx, seen); err != nil {
		return err
	}
	reflect.ValueOf(answer).Elem().SetZero() // the decoder would leave the first answer's fault in it
	return a.under.RoundTrip(ctx, request, answer)
}

// aboutSessions tells the requests that are made with the session's lock held.
func aboutSessions(request soap.HasFault) bool {
	switch request.(type) {
	case *methods.LoginBody, *methods.LogoutBody:
		return true
	}
	return false
}
