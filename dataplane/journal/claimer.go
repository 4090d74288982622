package journal

import (
	"context"
	"fmt"
	"time"

	"farshore"
	"farshore/dataplane/chain"
	"farshore/dataplane/segment"
	"farshore/dataplane/vault"
	"farshore/fault"
)

// Resume says where a stream goes on.
type Resume struct {
	Link          chain.Link // the end that the next segment follows
	Generation    farshore.Generation
	Epoch         farshore.Epoch
	LastLSN       farshore.LSN
	Last          farshore.Position // the last segment in front of the epoch that is no seal
	Clean         bool              // the end is a state of the whole machine: nothing must be copied again for its sake
	NewGeneration bool              // the generation holds nothing yet: the base must be sent
}

// maxClaimTries bounds the races for an epoch: each lost one means that somebody else has claimed meanwhile.
const maxClaimTries = 100

// Claim takes the next epoch for the process server that signs, with the ticket of the machine's agent. When it returns,
// every epoch below is sealed, and nobody else can be acknowledged for this machine any more.
//
// Refusals are *fault.Fault: FS-3501 stale session, FS-3502 failed over, FS-3503 another installation, FS-3504 bad ticket,
// FS-3507 handed over to an heir, FS-3505 and FS-3510 a stream that cannot be continued.
func Claim(ctx context.Context, d Deps, signed Signed) (*Writer, Resume, error) {
	id, err := d.Signer.Identity()
	if err != nil {
		return nil, Resume{}, fmt.Errorf("claim: %w", err)
	}
	t, err := VerifyTicket(d.Roots, d.Now(), signed)
	if err == nil && t.Server != id.Name {
		err = fmt.Errorf("it is for process server %s, this is %s", t.Server, id.Name)
	}
	if err != nil {
		return nil, Resume{}, &fault.Fault{
			Code: "FS-3504", Kind: fault.Refused, Subject: "process server " + id.Name, What: "the agent's ticket is not valid",
			Remedy: "check the clocks of both machines and that both are enrolled in the same vault", Err: err,
		}
	}
	key, err := d.newKey()
	if err != nil {
		return nil, Resume{}, err
	}
	if d.Rotated != nil {
		if d.Recipients, err = d.Rotated(ctx); err != nil {
			return nil, Resume{}, fmt.Errorf("claim the stream of machine %s: %w", t.Machine, err)
		}
	}
	for range maxClaimTries {
		stream, epoch, won, err := d.tryClaim(ctx, t, signed, key)
		if err != nil {
			return nil, Resume{}, fmt.Errorf("claim the stream of machine %s: %w", t.Machine, err)
		}
		if won {
			return d.open(ctx, stream, epoch, key)
		}
	}
	return nil, Resume{}, &fault.Fault{
		Code: "FS-3506", Kind: fault.Transient, Subject: "machine " + string(t.Machine),
		What: fmt.Sprintf("%d tries to claim its stream lost against other servers", maxClaimTries), Remedy: "look for a second machine with the same name",
	}
}

func (d Deps) newKey() (segment.DataKey, error) {
	var key segment.DataKey
	return key, d.random(key[:])
}

// tryClaim looks, decides and puts one claim. won is false if somebody else took the epoch meanwhile.
func (d Deps) tryClaim(ctx context.Context, t Ticket, signed Signed, key segment.DataKey) (chain.Stream, farshore.Epoch, bool, error) {
	stream := chain.Stream{Vault: d.Vault, Machine: t.Machine}
	g, e, err := d.mayClaim(ctx, t)
	if err != nil {
		return stream, 0, false, err
	}
	stream.Generation = g
	keys, err := d.Recipients.SealDataKey(key, keyContext(d.Vault, t.Machine, g, e))
	if err != nil {
		return stream, 0, false, fmt.Errorf("seal the data key of epoch %d: %w", e, err)
	}
	outcome, err := d.putClaim(ctx, EpochClaim{Machine: t.Machine, Generation: g, Epoch: e, Role: Replication, Signed: &signed, Keys: keys})
	return stream, e, outcome == vault.Created || outcome == vault.Same, err
}

// mayClaim chooses the epoch that a ticket may claim now, or says why it may not.
func (d Deps) mayClaim(ctx context.Context, t Ticket) (farshore.Generation, farshore.Epoch, error) {
	s, err := d.claims().survey(ctx, t.Machine)
	if err != nil {
		return 0, 0, err
	}
	own, err := d.claims().own(ctx, s, t)
	if err != nil {
		return 0, 0, err
	}
	seen, err := d.lastSeen(ctx, s, t)
	if err != nil {
		return 0, 0, err
	}
	return decide(s, own, t, seen, d.Now())
}

// May says why a ticket may not claim the stream of its machine now, and claims nothing: whoever would end the session of
// another instance for it asks first.
func May(ctx context.Context, d Deps, t Ticket) error {
	if _, _, err := d.mayClaim(ctx, t); err != nil {
		return fmt.Errorf("look at the claims of machine %s: %w", t.Machine, err)
	}
	return nil
}

func (d Deps) putClaim(ctx context.Context, c EpochClaim) (vault.Outcome, error) {
	c.Version, c.Vault, c.Time = Version, d.Vault.String(), d.Now().UTC()
	body, err := signClaim(d.Signer, c)
	if err != nil {
		return 0, err
	}
	outcome, err := put(ctx, d.Store, chain.ClaimName(c.Machine, c.Generation, c.Epoch), body)
	if err != nil {
		return 0, fmt.Errorf("put the claim of epoch %d: %w", c.Epoch, err)
	}
	return outcome, nil
}

// lastSeen says when another installation of the machine wrote last. It costs a look at the end of the stream, so it is
// asked only when the installation differs.
func (d Deps) lastSeen(ctx context.Context, s survey, t Ticket) (time.Time, error) {
	if s.lastReplica == nil || s.wroteLast(t.Instance) || s.inherits(t.Instance) || t.NewGeneration {
		return time.Time{}, nil
	}
	seen := s.lastReplica.Time
	horizon, err := d.claims().horizon(ctx, chain.Stream{Vault: d.Vault, Machine: t.Machine, Generation: s.newest()})
	if err != nil {
		return time.Time{}, err
	}
	link, err := startNear(ctx, d.Store, horizon, s.epochs[s.newest()]+1)
	if err != nil {
		return time.Time{}, err
	}
	if link.UTC.After(seen) {
		seen = link.UTC
	}
	return seen, nil
}

// open seals what lies below a claim that was won and makes its writer.
func (d Deps) open(ctx context.Context, stream chain.Stream, epoch farshore.Epoch, key segment.DataKey) (*Writer, Resume, error) {
	newest, err := d.sealOlder(ctx, stream)
	if err != nil {
		return nil, Resume{}, err
	}
	if newest != stream.Generation {
		return nil, Resume{}, &fault.Fault{
			Code: "FS-3501", Kind: fault.Refused, Subject: "machine " + string(stream.Machine),
			What:   fmt.Sprintf("generation %d was begun while epoch %d of generation %d was claimed", newest, epoch, stream.Generation),
			Remedy: "the agent opens a new session by itself",
		}
	}
	link, err := sealBelow(ctx, d.claims(), stream, epoch)
	if err != nil {
		return nil, Resume{}, fmt.Errorf("take over machine %s, epoch %d: %w", stream.Machine, epoch, err)
	}
	last, err := d.claims().lastSegment(ctx, link)
	if err != nil {
		return nil, Resume{}, fmt.Errorf("take over machine %s, epoch %d: %w", stream.Machine, epoch, err)
	}
	return &Writer{deps: d, key: key, epoch: epoch, tip: link, durable: link, moved: make(chan struct{})}, Resume{
		Link: link, Generation: stream.Generation, Epoch: epoch, LastLSN: link.LastLSN, Last: last, Clean: link.Clean, NewGeneration: len(link.Disks) == 0,
	}, nil
}

// sealOlder looks again at which generations there are, now that our claim stands, and seals those before ours. Whoever
// claims in one of them later finds ours and stops; whoever did before is among the epochs sealed.
func (d Deps) sealOlder(ctx context.Context, own chain.Stream) (farshore.Generation, error) {
	s, err := d.claims().survey(ctx, own.Machine)
	if err != nil {
		return 0, err
	}
	for _, g := range s.generations {
		if g >= own.Generation {
			continue
		}
		older := own
		older.Generation = g
		_, err := sealBelow(ctx, d.claims(), older, s.epochs[g]+1)
		if f, ok := fault.As(err); ok && f.Kind == fault.Corrupt {
			continue // nobody can be acknowledged behind a break either, and a new generation is the way out of one
		}
		if err != nil {
			return 0, fmt.Errorf("seal generation %d of machine %s: %w", g, own.Machine, err)
		}
	}
	return s.newest(), nil
}

func noMachine(m farshore.MachineID) error {
	return &fault.Fault{
		Code: "FS-3512", Kind: fault.Refused, Subject: "machine " + string(m), What: "the vault holds no stream of it",
		Remedy: "list the machines: farshore-restore ls",
	}
}
