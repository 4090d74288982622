package hub

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"connectrpc.com/connect"

	"farshore"
	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/dataplane/credential"
	"farshore/dataplane/proxy"
	"farshore/fault"
)

// enrolTimeout limits an enrolment as a whole.
const enrolTimeout = time.Minute

// Enrolment is what a node needs to join a vault.
type Enrolment struct {
	Address  string            // host:port of the configuration server
	Token    string            // text of the join token
	Pin      string            // pin of the vault's CA: the only thing the node believes before it has a certificate
	Identity farshore.Identity // the name asked for; the token must be for it
	Machine  *farshore.MachineSpec
	Dir      string // the folder of the node's credential
	Now      func() time.Time
	Proxy    proxy.Func // nil: the configuration server is dialled directly
}

// Enrol makes the node's key if there is none, trades the join token for a certificate and saves it. The certificate is on
// stable storage when Enrol returns. An enrolment whose answer was lost can be repeated with the same token and folder.
func Enrol(ctx context.Context, e Enrolment) (*credential.Node, error) {
	ctx, cancel := context.WithTimeout(ctx, enrolTimeout)
	defer cancel()
	token, err := ParseToken(e.Token)
	if err != nil {
		return nil, err
	}
	pin, err := ParsePin(e.Pin)
	if err != nil {
		return nil, err
	}
	node, err := credential.Create(e.Dir, e.Now)
	if err != nil {
		return nil, err
	}
	request, err := node.CertificateRequest(e.Identity)
	if err != nil {
		return nil, err
	}
	chain, err := e.trade(ctx, token, pin, request)
	if err != nil {
		return nil, err
	}
	if err := samePin(chain, pin); err != nil {
		return nil, fmt.Errorf("enrol as %s: %w", e.Identity, err)
	}
	if err := node.SaveChain(chain); err != nil {
		return nil, fmt.Errorf("enrol as %s: %w", e.Identity, err)
	}
	return node, nil
}

// trade asks for the certificate on one connection, which the token is bound to.
func (e Enrolment) trade(ctx context.Context, token Token, pin Pin, request []byte) ([][]byte, error) {
	conn, err := e.dial(ctx, pin)
	if err != nil {
		return nil, err
	}
	defer conn.Close() //nolint:errcheck // the answer was read or is lost; closing adds nothing
	binding, err := token.Bind(conn.ConnectionState(), request)
	if err != nil {
		return nil, err
	}
	message := &farshorev1.EnrolRequest{
		Token: token.ID, Role: string(e.Identity.Role), Name: e.Identity.Name, CertificateRequest: request, Binding: binding,
	}
	if e.Machine != nil {
		message.Machine = MachineMessage(*e.Machine)
	}
	client := &http.Client{Transport: &http.Transport{DialTLSContext: once(conn), DisableKeepAlives: true}}
	answer, err := service(client, e.Address).Enrol(ctx, connect.NewRequest(message))
	if err != nil {
		return nil, Error(e.Address, err)
	}
	return answer.Msg.GetChain(), nil
}

func (e Enrolment) dial(ctx context.Context, pin Pin) (*tls.Conn, error) {
	raw, err := proxy.Dial(ctx, &net.Dialer{Timeout: dialTimeout}, e.Proxy, e.Address)
	if err != nil {
		return nil, Error(e.Address, err)
	}
	conn := tls.Client(raw, &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{Protocol},
		// There is no name and no root to check yet, only a pin: VerifyConnection checks it at every handshake.
		InsecureSkipVerify: true, //nolint:gosec // see above; TestEnrolRefusesAServerWithAnotherPin holds it
		VerifyConnection:   func(state tls.ConnectionState) error { return e.recognise(state, pin) },
	})
	if err := conn.HandshakeContext(ctx); err != nil {
		raw.Close()                       // why the handshake failed is worth more
		return nil, Error(e.Address, err) // a fault of recognise stays what it is
	}
	return conn, nil
}

// recognise accepts the other end if it shows the pinned CA, and a certificate of that CA that names a configuration server.
func (e Enrolment) recognise(state tls.ConnectionState, pin Pin) error {
	wrong := func(err error) error {
		return &fault.Fault{
			Code: "FS-6004", Kind: fault.Refused, Subject: "configuration server " + e.Address, What: "it does not belong to the pinned vault",
			Remedy: "check the address and the pin (farshore token create prints both); if they are right, somebody is in between", Err: err,
		}
	}
	for i, c := range state.PeerCertificates {
		if i == 0 || PinOf(c.RawSubjectPublicKeyInfo) != pin {
			continue
		}
		roots, err := credential.RootsFromDER(c.Raw)
		if err != nil {
			return wrong(err)
		}
		id, err := roots.Identify(Chain(state.PeerCertificates[:i]), e.Now())
		if err != nil {
			return wrong(err)
		}
		if id.Role != farshore.RoleControl {
			return wrong(fmt.Errorf("it is %s", id))
		}
		return nil
	}
	return wrong(errors.New("it shows another CA"))
}

// samePin makes sure that the chain we were given ends with the CA we were told to believe.
func samePin(chain [][]byte, pin Pin) error {
	if len(chain) == 0 {
		return errors.New("the answer has no certificate")
	}
	ca, err := x509.ParseCertificate(chain[len(chain)-1])
	if err != nil {
		return fmt.Errorf("read the CA of the answer: %w", err)
	}
	if PinOf(ca.RawSubjectPublicKeyInfo) != pin {
		return errors.New("the certificate does not come from the pinned CA")
	}
	return nil
}

// once hands out one connection, once: a second dial would be another connection than the one the token is bound to.
func once(conn net.Conn) func(context.Context, string, string) (net.Conn, error) {
	conns := make(chan net.Conn, 1)
	conns <- conn
	return func(context.Context, string, string) (net.Conn, error) {
		select {
		case c := <-conns:
			return c, nil
		default:
			return nil, errors.New("the connection that the token is bound to is gone")
		}
	}
}

// Chain is the certificates of a connection's other end as [credential.Roots.Identify] wants them.
func Chain(certs []*x509.Certificate) [][]byte {
	ders := make([][]byte, len(certs))
	for i, c := range certs {
		ders[i] = c.Raw
	}
	return ders
}
