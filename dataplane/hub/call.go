package hub

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"

	"connectrpc.com/connect"

	"farshore"
	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/api/gen/farshore/v1/farshorev1connect"
	"farshore/dataplane/credential"
	"farshore/dataplane/proxy"
	"farshore/fault"
)

const (
	// Protocol is the ALPN of the hub and of the API.
	Protocol = "http/1.1"
	// MaxMessageBytes limits one message of the hub and of the API, both ways.
	MaxMessageBytes = 8 << 20

	dialTimeout = 10 * time.Second
	idleTimeout = 2 * time.Minute
)

// HTTPClient makes a client that speaks to the configuration server in the node's name and to nobody else. Its requests
// have no time limit but their context's.
func HTTPClient(node *credential.Node) *http.Client { return through(node, nil) }

// through is HTTPClient by way of a proxy; nil: none.
func through(node *credential.Node, way proxy.Func) *http.Client {
	dialer := &net.Dialer{Timeout: dialTimeout, KeepAlive: 15 * time.Second}
	return &http.Client{Transport: &http.Transport{
		Proxy: way, DialContext: dialer.DialContext, TLSHandshakeTimeout: dialTimeout, IdleConnTimeout: idleTimeout,
		MaxIdleConnsPerHost: 4, TLSClientConfig: node.ClientTLS(Protocol, farshore.RoleControl),
	}}
}

// service makes the hub's client on top of an HTTP client.
func service(client *http.Client, address string) farshorev1connect.HubServiceClient {
	return farshorev1connect.NewHubServiceClient(client, "https://"+address, connect.WithReadMaxBytes(MaxMessageBytes))
}

// Error makes an error of a call to address one that can be shown: the fault that the configuration server answered with, or
// one of our own (FS-6005) if it did not answer.
func Error(address string, err error) error {
	if _, ok := fault.As(err); ok || err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	var answer *connect.Error
	if errors.As(err, &answer) && connect.IsWireError(answer) {
		for _, d := range answer.Details() {
			value, bad := d.Value()
			if m, ok := value.(*farshorev1.Fault); ok && bad == nil {
				return Fault(m)
			}
		}
	}
	return &fault.Fault{
		Code: "FS-6005", Kind: fault.Transient, Subject: "configuration server " + address, What: "it does not answer as it should",
		Remedy: "check that farshore-control runs there and that a firewall lets this host reach it", Err: err,
	}
}

// AnswerWith makes the error that carries a fault to the other end of a call; [Error] is its inverse.
func AnswerWith(f *fault.Fault) error {
	answer := connect.NewError(codeOf(f), f)
	if d, err := connect.NewErrorDetail(FaultMessage(f)); err == nil {
		answer.AddDetail(d)
	}
	return answer
}

func codeOf(f *fault.Fault) connect.Code {
	switch f.Kind {
	case fault.Transient:
		return connect.CodeUnavailable
	case fault.Operator, fault.Refused:
		return connect.CodeFailedPrecondition
	case fault.Corrupt:
		return connect.CodeDataLoss
	}
	return connect.CodeUnknown
}
