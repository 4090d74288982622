package proxytest

import (
	"encoding/base64"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"farshore/dataplane/proxy"
)

// What the proxy wants to be told.
const (
	user     = "farshore"
	password = "pass:word"
)

// Proxy is a running proxy.
type Proxy struct {
	server  *httptest.Server
	tunnels atomic.Int64
	plain   atomic.Int64
	refused atomic.Int64
}

// Start runs a proxy until the test ends.
func Start(t testing.TB) *Proxy {
	t.Helper()
	p := &Proxy{}
	p.server = httptest.NewServer(http.HandlerFunc(p.serve))
	t.Cleanup(p.server.Close)
	return p
}

// Config is that of a node which uses the proxy.
func (p *Proxy) Config(t testing.TB) *proxy.Config {
	t.Helper()
	path := filepath.Join(t.TempDir(), "proxy.password")
	if err := os.WriteFile(path, []byte(password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return &proxy.Config{URL: p.server.URL, User: user, PasswordFile: path}
}

// Counts gives how many tunnels were made, how many plain requests passed on, and how many refused.
func (p *Proxy) Counts() (tunnels, plain, refused int64) {
	return p.tunnels.Load(), p.plain.Load(), p.refused.Load()
}

func (p *Proxy) serve(w http.ResponseWriter, r *http.Request) {
	want := "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
	if r.Header.Get("Proxy-Authorization") != want {
		p.refused.Add(1)
		w.Header().Set("Proxy-Authenticate", `Basic realm="test"`)
		w.WriteHeader(http.StatusProxyAuthRequired)
		return
	}
	if r.Method == http.MethodConnect {
		p.tunnels.Add(1)
		p.tunnel(w, r)
		return
	}
	p.plain.Add(1)
	forward := &httputil.ReverseProxy{Rewrite: func(q *httputil.ProxyRequest) {
		q.Out.URL, q.Out.Host = q.In.URL, q.In.Host
		q.Out.Header.Del("Proxy-Authorization")
	}}
	forward.ServeHTTP(w, r)
}

// tunnel connects the two ends until one of them closes.
func (p *Proxy) tunnel(w http.ResponseWriter, r *http.Request) {
	far, err := (&net.Dialer{}).DialContext(r.Context(), "tcp", r.Host)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer far.Close()
	w.WriteHeader(http.StatusOK)
	near, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer near.Close()
	var wg sync.WaitGroup
	carry := func(to net.Conn, from io.Reader) {
		_, err := io.Copy(to, from)
		_ = errors.Join(err, to.Close()) // an end of a tunnel is no fault
	}
	wg.Go(func() { carry(far, buffered) })
	wg.Go(func() { carry(near, far) })
	wg.Wait()
}
