package credential

import (
	"crypto/tls"
	"fmt"
	"slices"

	"farshore"
)

// ServerTLS is the TLS of the end that is dialled: TLS 1.3, a certificate asked of the other end, which must be one of
// this vault's and have one of the roles. Session tickets are off: every connection proves its key anew.
func (n *Node) ServerTLS(protocol string, roles ...farshore.Role) *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		NextProtos:             []string{protocol},
		SessionTicketsDisabled: true,
		ClientAuth:             tls.RequireAnyClientCert, // judged by VerifyConnection, which knows the grace
		GetCertificate:         func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return n.Certificate() },
		VerifyConnection:       n.verify(protocol, roles),
	}
}

// ClientTLS is the TLS of the end that dials: the other end must be one of this vault's and have one of the roles. Which
// host it was dialled by proves nothing and is not compared.
func (n *Node) ClientTLS(protocol string, roles ...farshore.Role) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		NextProtos: []string{protocol},
		// The standard check knows host names and no grace. VerifyConnection below takes its place: it runs at every
		// handshake and refuses whatever does not lead to the vault's CA.
		InsecureSkipVerify:   true, //nolint:gosec // see above; TestClientRefusesAServerOfAnotherVault holds it
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return n.Certificate() },
		VerifyConnection:     n.verify(protocol, roles),
	}
}

// Peer is the name of the other end of a connection that [Node.ServerTLS] or [Node.ClientTLS] made.
func (n *Node) Peer(state tls.ConnectionState) (farshore.Identity, error) {
	roots, err := n.Roots()
	if err != nil {
		return farshore.Identity{}, err
	}
	if len(state.PeerCertificates) == 0 || len(state.PeerCertificates) > maxChain {
		return farshore.Identity{}, fmt.Errorf("%w: a chain of %d certificates, want 1 to %d", ErrUntrusted, len(state.PeerCertificates), maxChain)
	}
	return roots.identify(state.PeerCertificates, n.now())
}

func (n *Node) verify(protocol string, roles []farshore.Role) func(tls.ConnectionState) error {
	return func(state tls.ConnectionState) error {
		if state.NegotiatedProtocol != protocol {
			return fmt.Errorf("the other end speaks protocol %q, want %q", state.NegotiatedProtocol, protocol)
		}
		id, err := n.Peer(state)
		if err != nil {
			return err
		}
		if !slices.Contains(roles, id.Role) {
			return fmt.Errorf("%w: %s is none of the roles %v", ErrUntrusted, id, roles)
		}
		return nil
	}
}
