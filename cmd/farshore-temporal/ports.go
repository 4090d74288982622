package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"syscall"
)

// loopback is where the services inside the process talk to each other; nobody else can reach them there.
const loopback = "127.0.0.1"

// ports are the addresses the process listens on.
type ports struct {
	frontend, ui              int // asked for by the operator, or chosen if zero
	history, matching, worker int // always chosen, on loopback only
}

// listenAddress is one address to reserve; port zero means any, and is replaced by the one found.
type listenAddress struct {
	ip, flag string
	port     *int
}

// reservePorts checks the asked ports and finds free ones for the rest. It holds all of them at once, so that none is
// given twice, and lets go before it returns: the server has to open them itself.
func reservePorts(ctx context.Context, o serverOptions) (ports, error) {
	p := ports{frontend: o.port, ui: o.uiPort}
	wanted := []listenAddress{
		{o.ip, "--port", &p.frontend},
		{loopback, "", &p.history},
		{loopback, "", &p.matching},
		{loopback, "", &p.worker},
	}
	if !o.headless {
		wanted = append(wanted, listenAddress{o.ip, "--ui-port", &p.ui})
	}
	var listen net.ListenConfig
	var held []net.Listener
	var failed error
	for _, w := range wanted {
		l, err := listen.Listen(ctx, "tcp", net.JoinHostPort(w.ip, strconv.Itoa(*w.port)))
		if err != nil {
			failed = cannotListen(w.ip, *w.port, w.flag, err)
			break
		}
		held = append(held, l)
		*w.port = l.Addr().(*net.TCPAddr).Port
	}
	for _, l := range held {
		failed = errors.Join(failed, l.Close())
	}
	return p, failed
}

func cannotListen(ip string, port int, flag string, err error) error {
	f := &fault{
		code: "FS-8004", kind: operator, subject: "address " + net.JoinHostPort(ip, strconv.Itoa(port)),
		what: "the server cannot listen there", err: err,
		remedy: "choose an address of this host with --ip and a free port above 1023 with " + flag,
	}
	if flag == "" {
		f.remedy = "the services talk to each other over loopback: check that it is up, and the limit of open files (ulimit -n)"
		return f
	}
	if errors.Is(err, syscall.EADDRINUSE) {
		f.what, f.err = "the port is in use by another process", nil
		f.remedy = fmt.Sprintf("find it with: ss -ltnp 'sport = :%d', or choose another port with %s", port, flag)
	}
	return f
}
