package peer

import (
	"context"
	"crypto/tls"
	"net/http"
)

// Peer is the other end of the connection that a call came over.
type Peer struct {
	State   tls.ConnectionState
	Address string // host:port
}

type key struct{}

// Handler puts the peer of each request into its context. A request that did not come over TLS is answered with 400.
func Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.TLS == nil {
			http.Error(w, "this is a TLS port", http.StatusBadRequest)
			return
		}
		p := Peer{State: *r.TLS, Address: r.RemoteAddr}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), key{}, p)))
	})
}

// From gives the peer that [Handler] put into the context; a call that did not pass it has the zero Peer, which has no
// certificate and is refused like every caller without one.
func From(ctx context.Context) Peer {
	p, _ := ctx.Value(key{}).(Peer)
	return p
}
