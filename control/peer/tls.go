package peer

import (
	"crypto/tls"

	"farshore/dataplane/credential"
	"farshore/dataplane/hub"
)

// TLS is the TLS of the configuration server's port. Callers may come without a certificate: who enrols has none yet; every
// other call is refused without one, by control/nodes. The CA is part of the chain that is shown, so that who enrols can
// compare it with its pin.
func TLS(node *credential.Node, ca []byte) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{hub.Protocol}, SessionTicketsDisabled: true,
		ClientAuth: tls.RequestClientCert,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			own, err := node.Certificate()
			if err != nil {
				return nil, err
			}
			shown := *own
			shown.Certificate = append(append([][]byte{}, own.Certificate...), ca)
			return &shown, nil
		},
	}
}
