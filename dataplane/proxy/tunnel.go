package proxy

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"
)

// Dial gives a connection to address by way of the proxy that is named for it, or directly if none is: for whoever needs the
// connection itself and not only what an http.Transport makes of it. through may be nil.
func Dial(ctx context.Context, dialer *net.Dialer, through Func, address string) (net.Conn, error) {
	if through == nil {
		return dialer.DialContext(ctx, "tcp", address)
	}
	way, err := through(&http.Request{URL: &url.URL{Scheme: "https", Host: address}})
	if err != nil {
		return nil, err
	}
	if way == nil {
		return dialer.DialContext(ctx, "tcp", address)
	}
	conn, err := dialProxy(ctx, dialer, way)
	if err != nil {
		return nil, fmt.Errorf("dial the HTTP proxy: %w", err)
	}
	if err := askThrough(ctx, conn, way, address); err != nil {
		return nil, errors.Join(fmt.Errorf("ask the HTTP proxy %s: %w", way.Host, err), conn.Close())
	}
	return conn, nil
}

func dialProxy(ctx context.Context, dialer *net.Dialer, way *url.URL) (net.Conn, error) {
	host, port := way.Hostname(), way.Port()
	if way.Scheme == "https" {
		if port == "" {
			port = "443"
		}
		secure := tls.Dialer{NetDialer: dialer, Config: &tls.Config{MinVersion: tls.VersionTLS12}}
		return secure.DialContext(ctx, "tcp", net.JoinHostPort(host, port))
	}
	if port == "" {
		port = "80"
	}
	return dialer.DialContext(ctx, "tcp", net.JoinHostPort(host, port))
}

// askThrough asks a proxy to connect conn with address (RFC 9110, section 9.3.6).
func askThrough(ctx context.Context, conn net.Conn, way *url.URL, address string) error {
	stop := context.AfterFunc(ctx, func() {
		conn.SetDeadline(time.Unix(1, 0)) //nolint:errcheck // what waits on it ends, or has ended
	})
	defer stop()
	request := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: address}, Host: address, Header: http.Header{}}
	if user := way.User; user != nil {
		password, _ := user.Password()
		basic := &http.Request{Header: http.Header{}}
		basic.SetBasicAuth(user.Username(), password)
		request.Header.Set("Proxy-Authorization", basic.Header.Get("Authorization"))
	}
	if err := request.Write(conn); err != nil {
		return err
	}
	from := bufio.NewReader(conn)
	answer, err := http.ReadResponse(from, request) //nolint:bodyclose // the answer to CONNECT has none: what follows is the tunnel
	if err != nil {
		return err
	}
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("it answers %s", answer.Status)
	}
	if from.Buffered() > 0 { // the other end of a tunnel speaks TLS, and there the client speaks first
		return errors.New("it answers more than was asked")
	}
	return nil
}
