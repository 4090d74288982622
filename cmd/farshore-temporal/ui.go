package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	uiserver "github.com/temporalio/ui-server/v2/server"
	uiconfig "github.com/temporalio/ui-server/v2/server/config"
	"github.com/temporalio/ui-server/v2/server/server_options"
)

// runUI serves the UI, unless there shall be none, and calls ready when it answers. It returns when ctx has ended and
// the UI has stopped. Should the UI lose its port between the check and now, it ends the process by itself with exit
// code 1; it offers no other way.
func runUI(ctx context.Context, p ports, o serverOptions, ready func() error) error {
	if o.headless {
		if err := ready(); err != nil {
			return err
		}
		<-ctx.Done()
		return nil
	}
	ui := newUI(p, o)
	stopped := make(chan error, 1)
	go func() { stopped <- ui.Start() }()
	err := awaitListener(ctx, frontendAddress(o.ip, p.ui))
	if err == nil {
		err = ready()
	}
	if err == nil {
		<-ctx.Done()
	}
	ui.Stop()
	return errors.Join(err, <-stopped)
}

// newUI makes the Temporal UI on its port, in front of our frontend. It has no setting for its title.
func newUI(p ports, o serverOptions) *uiserver.Server {
	host := o.ip
	if strings.Contains(host, ":") {
		host = "[" + host + "]" // it only puts a colon and the port behind it
	}
	return uiserver.NewServer(server_options.WithConfigProvider(&uiconfig.Config{
		Host:                host,
		Port:                p.ui,
		TemporalGRPCAddress: frontendAddress(o.ip, p.frontend),
		EnableUI:            true,
		DefaultNamespace:    o.namespace,
		// Histories are encrypted; the browser asks this address, on Farshore's own API, to read them.
		Codec: uiconfig.Codec{Endpoint: o.codecEndpoint},
		// The UI is served without TLS; a cookie that demands TLS would make every button fail.
		CORS:             uiconfig.CORS{CookieInsecure: true},
		DisableNewsFetch: true,
		HideLogs:         true,
	}))
}

// awaitListener returns when somebody listens at the address.
func awaitListener(ctx context.Context, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	var dialer net.Dialer
	return repeat(ctx, func() error {
		conn, err := dialer.DialContext(ctx, "tcp", addr)
		if err == nil {
			err = conn.Close()
		}
		if err != nil {
			return fmt.Errorf("reach the UI at %s: %w", addr, err)
		}
		return nil
	})
}
