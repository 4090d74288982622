package journal

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/cenkalti/backoff/v5"

	"farshore/dataplane/credential"
	"farshore/dataplane/segment"
	"farshore/dataplane/vault"
	"farshore/fault"
)

// Deps is what claiming needs from outside.
type Deps struct {
	Store      vault.Store
	Vault      segment.VaultID
	Signer     Signer                                          // this node
	Roots      *credential.Roots                               // the vault's CA
	Recipients vault.Recipients                                // whom data keys are sealed to; Fence needs none
	Rotated    func(context.Context) (vault.Recipients, error) // asked before each claim: keys are rotated while servers run; nil: Recipients for ever
	Now        func() time.Time
	Random     io.Reader      // nil: the system's
	Report     func(BadClaim) // told of each claim that is not believed; may be nil
}

// BadClaim is a claim in the vault that nobody of ours can have made: somebody writes there who should not.
type BadClaim struct {
	Name string
	Err  error
}

func (d Deps) random(b []byte) error {
	r := d.Random
	if r == nil {
		r = rand.Reader
	}
	if _, err := io.ReadFull(r, b); err != nil {
		return fmt.Errorf("draw random bytes: %w", err)
	}
	return nil
}

// The waits between tries at a vault that does not answer, and how long it is tried before the caller hears of it. The
// caller may then do the same again for ever.
const (
	firstRetry = 100 * time.Millisecond
	lastRetry  = 5 * time.Second
	retryFor   = 30 * time.Second
)

// retry tries until it succeeds, the fault is not transient, the time is over, or the context ends.
func retry[T any](ctx context.Context, try func() (T, error)) (T, error) {
	waits := backoff.NewExponentialBackOff()
	waits.InitialInterval, waits.MaxInterval = firstRetry, lastRetry
	return backoff.Retry(ctx, func() (T, error) {
		v, err := try()
		if err != nil && !transient(err) {
			return v, backoff.Permanent(err)
		}
		return v, err
	}, backoff.WithBackOff(waits), backoff.WithMaxElapsedTime(retryFor))
}

func transient(err error) bool {
	f, ok := fault.As(err)
	return ok && f.Kind == fault.Transient
}

// put puts the same bytes until the vault has said what became of them. After an error nothing is known.
func put(ctx context.Context, s vault.Store, name string, body []byte) (vault.Outcome, error) {
	return retry(ctx, func() (vault.Outcome, error) { return s.PutIfAbsent(ctx, name, body) })
}

// get gives the object, or found = false.
func get(ctx context.Context, s vault.Store, name string) (body []byte, found bool, err error) {
	body, err = retry(ctx, func() ([]byte, error) { return s.Get(ctx, name) })
	if errors.Is(err, vault.ErrNotFound) {
		return nil, false, nil
	}
	return body, err == nil, err
}

// list gives all names with a prefix.
func list(ctx context.Context, s vault.Store, prefix string) ([]vault.Entry, error) {
	return retry(ctx, func() ([]vault.Entry, error) {
		var all []vault.Entry
		for e, err := range s.List(ctx, prefix, "") {
			if err != nil {
				return nil, err
			}
			all = append(all, e)
		}
		return all, nil
	})
}
