package peers

import (
	"context"
	"crypto/tls"
	"net"

	"farshore"
	"farshore/dataplane/group"
)

// listen opens the port that the others dial. If it cannot be opened it is tried again with the next tick; the rounds that others
// lead go on without this machine meanwhile, and say so.
func (p *Peers) listen(ctx context.Context) {
	_, port, err := net.SplitHostPort(p.group.address(p.config.Machine))
	if err != nil {
		return // this machine is of the group and nobody is told where: the group says so
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort("", port))
	if err != nil {
		p.config.Cutter.Outcome(p.group.Name, group.Ended{Why: "this machine cannot be called by the others: " + err.Error()})
		return
	}
	p.listener = listener
	p.wg.Go(func() { p.accept(ctx, listener) })
}

// accept receives whoever calls until the listener is closed.
func (p *Peers) accept(ctx context.Context, listener net.Listener) {
	stop := context.AfterFunc(ctx, func() { p.closed(listener.Close()) })
	defer stop()
	places := make(chan struct{}, maxHandshakes)
	for {
		raw, err := listener.Accept()
		if err != nil {
			p.post(ctx, func() {
				if p.listener == listener { // nobody closed it: it is opened anew
					p.listener = nil
					p.closed(listener.Close())
				}
			})
			return
		}
		select {
		case places <- struct{}{}:
		default:
			p.closed(raw.Close())
			continue
		}
		p.wg.Go(func() {
			defer func() { <-places }()
			p.answer(ctx, raw)
		})
	}
}

// answer serves one caller, if it is the agent of a machine of the group.
func (p *Peers) answer(ctx context.Context, raw net.Conn) {
	conn := tls.Server(raw, p.config.Node.ServerTLS(Protocol, farshore.RoleAgent))
	shaking, cancel := context.WithTimeout(ctx, dialWithin)
	peer, err := p.shake(shaking, conn)
	cancel()
	if err != nil {
		p.closed(raw.Close())
		return
	}
	admitted := make(chan *link, 1)
	p.post(ctx, func() {
		if !p.isMember(peer) {
			admitted <- nil
			return
		}
		if old := p.callers[peer]; old != nil {
			old.end()
			p.gone(ctx, p.callers, old, "")
		}
		l := newLink(peer, false)
		p.callers[peer] = l
		admitted <- l
	})
	var l *link
	select {
	case l = <-admitted:
	case <-ctx.Done():
	}
	if l == nil {
		p.closed(raw.Close())
		return
	}
	err = p.use(ctx, conn, l, func(m group.Message) bool { return m.Kind.Leads() })
	p.closed(err)
	p.post(ctx, func() {
		l.end()
		p.gone(ctx, p.callers, l, "")
	})
}
