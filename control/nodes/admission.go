package nodes

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"farshore"
	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/control/audit"
	"farshore/control/peer"
	"farshore/dataplane/hub"
	"farshore/fault"
)

const (
	// DefaultTokenLifetime is how long a join token is good when nobody says otherwise.
	DefaultTokenLifetime = time.Hour
	// MaxTokenLifetime limits it.
	MaxTokenLifetime = 24 * time.Hour
	// tokenMemory is how long a token is kept behind its end: nobody is admitted by it then, but whoever comes with it is told
	// when it ended.
	tokenMemory = 7 * 24 * time.Hour
)

// joinable are the roles that a join token can be made for.
var joinable = []farshore.Role{
	farshore.RoleAgent, farshore.RoleProcessServer, farshore.RoleApplier, farshore.RoleMasterTarget, farshore.RoleCollector, farshore.RoleOperator,
}

// TokenRequest asks for a join token.
type TokenRequest struct {
	For      farshore.Identity
	Lifetime time.Duration // 0: DefaultTokenLifetime
	Replace  bool          // the name may be taken from the node that has it
}

// CreateToken makes a join token, and forgets those that ended long ago. The error is a *fault.Fault.
func (r *Registry) CreateToken(q TokenRequest) (token hub.Token, expires time.Time, err error) {
	if q.Lifetime == 0 {
		q.Lifetime = DefaultTokenLifetime
	}
	if err := checkTokenRequest(q); err != nil {
		return hub.Token{}, time.Time{}, err
	}
	token, err = hub.NewToken(rand.Reader)
	if err != nil {
		return hub.Token{}, time.Time{}, err
	}
	now := r.now()
	expires = now.Add(q.Lifetime)
	err = r.db.Update(func(tx *bbolt.Tx) error {
		if tx.Bucket(nodeBucket).Get([]byte(q.For.String())) != nil && !q.Replace {
			return enrolledAlready(q.For)
		}
		if err := forgetTokens(tx, func(t tokenRecord) bool { return now.Sub(t.Expires) > tokenMemory }); err != nil {
			return err
		}
		return putJSON(tx, tokenBucket, token.ID, tokenRecord{Public: token.Public(), For: q.For, Expires: expires, Replace: q.Replace})
	})
	return token, expires, err
}

func checkTokenRequest(q TokenRequest) error {
	bad := func(what, remedy string) error {
		return &fault.Fault{Code: "FS-6014", Kind: fault.Refused, Subject: "join token for " + q.For.String(), What: what, Remedy: remedy}
	}
	if !slices.Contains(joinable, q.For.Role) {
		return bad(fmt.Sprintf("nobody can join as %q", q.For.Role), fmt.Sprintf("use one of %v", joinable))
	}
	if _, err := farshore.ParseMachineID(q.For.Name); err != nil {
		return err
	}
	if q.Lifetime < time.Second || q.Lifetime > MaxTokenLifetime {
		return bad(fmt.Sprintf("a lifetime of %s", q.Lifetime), fmt.Sprintf("choose one of at most %s", MaxTokenLifetime))
	}
	return nil
}

func enrolledAlready(id farshore.Identity) error {
	return &fault.Fault{
		Code: "FS-6011", Kind: fault.Refused, Subject: id.String(), What: "a node with this name has enrolled already",
		Remedy: "choose another name; if the old node is gone, make a token with --replace, which refuses the old node from then on",
	}
}

// admit trades a join token for a certificate.
func (r *Registry) admit(ctx context.Context, m *farshorev1.EnrolRequest) ([][]byte, error) {
	from := peer.From(ctx)
	id := farshore.Identity{Role: farshore.Role(m.GetRole()), Name: m.GetName()}
	record, err := r.token(m.GetToken())
	if err != nil {
		return nil, err
	}
	if !hub.Bound(record.Public, from.State, m.GetCertificateRequest(), m.GetBinding()) {
		return nil, refusedToken(m.GetToken(), "there is no such token")
	}
	// From here on the other end is known to hold the token and may be told what is wrong with it.
	if r.now().After(record.Expires) {
		return nil, refusedToken(m.GetToken(), "it was good until "+record.Expires.UTC().Format(time.RFC3339))
	}
	if id != record.For {
		return nil, refusedToken(m.GetToken(), fmt.Sprintf("it is for %s, not for %s", record.For, id))
	}
	chain, err := r.authority.Issue(m.GetCertificateRequest(), id)
	if err != nil {
		return nil, &fault.Fault{Code: "FS-6014", Kind: fault.Refused, Subject: id.String(), What: "its certificate request cannot be used", Remedy: "enrol with a farshore program", Err: err}
	}
	leaf, err := x509.ParseCertificate(chain[0])
	if err != nil {
		return nil, fmt.Errorf("read the certificate just issued: %w", err)
	}
	err = r.audit.Append(audit.Entry{
		Who: "join token " + m.GetToken(), From: from.Address, Call: "HubService/Enrol",
		Request: json.RawMessage(fmt.Sprintf(`{"identity":%q,"key":%q}`, id, keyHash(leaf))),
	})
	if err != nil {
		return nil, err
	}
	if err := r.enter(m, id, leaf); err != nil {
		return nil, err
	}
	r.log.Info("a node enrolled", "node", id, "from", from.Address)
	return chain, nil
}

func (r *Registry) token(id string) (tokenRecord, error) {
	var record tokenRecord
	err := r.db.View(func(tx *bbolt.Tx) error {
		ok, err := getJSON(tx, tokenBucket, id, &record)
		if err == nil && !ok {
			return refusedToken(id, "there is no such token")
		}
		return err
	})
	return record, err
}

// enter uses the token up and writes the node down, in one transaction. A token may be used again with the key that used
// it: the first answer was lost on its way.
func (r *Registry) enter(m *farshorev1.EnrolRequest, id farshore.Identity, leaf *x509.Certificate) error {
	key := keyHash(leaf)
	first := observation{report: &farshorev1.SyncRequest{}}
	if id.Role == farshore.RoleAgent {
		spec := m.GetMachine()
		if spec == nil {
			spec = &farshorev1.MachineSpec{}
		}
		spec.Id = id.Name
		first.report.Observed = &farshorev1.SyncRequest_Agent{Agent: &farshorev1.AgentObserved{Machine: spec}}
	}
	content, err := encodeObservation(first)
	if err != nil {
		return err
	}
	err = r.db.Update(func(tx *bbolt.Tx) error {
		if err := useToken(tx, m.GetToken(), key); err != nil {
			return err
		}
		if err := takeName(tx, m.GetToken(), id, key); err != nil {
			return err
		}
		err := putJSON(tx, nodeBucket, id.String(), nodeRecord{Identity: id, Key: key, Enrolled: r.now().UTC(), CertificateEnd: leaf.NotAfter})
		if err != nil || id.Role == farshore.RoleOperator {
			return err
		}
		return errors.Join(forgetReports(tx, id), tx.Bucket(observedBucket).Put(reportKey(id, ""), content))
	})
	if err != nil || id.Role == farshore.RoleOperator {
		return err
	}
	r.mu.Lock()
	r.observed[id] = reports{"": first}
	r.mu.Unlock()
	r.wake(anyReport)
	return nil
}

func useToken(tx *bbolt.Tx, id, key string) error {
	var record tokenRecord
	ok, err := getJSON(tx, tokenBucket, id, &record)
	if err != nil {
		return err
	}
	if !ok || (record.UsedBy != "" && record.UsedBy != key) {
		return refusedToken(id, "it was used already")
	}
	record.UsedBy = key
	return putJSON(tx, tokenBucket, id, record)
}

// forgetTokens removes the join tokens of which gone is true.
func forgetTokens(tx *bbolt.Tx, gone func(tokenRecord) bool) error {
	var ids []string // a bucket must not change while it is walked
	err := tx.Bucket(tokenBucket).ForEach(func(id, _ []byte) error {
		var record tokenRecord
		_, err := getJSON(tx, tokenBucket, string(id), &record)
		if err == nil && gone(record) {
			ids = append(ids, string(id))
		}
		return err
	})
	for _, id := range ids {
		err = errors.Join(err, tx.Bucket(tokenBucket).Delete([]byte(id)))
	}
	return err
}

// takeName makes sure that the name is free, or that the token may take it away.
func takeName(tx *bbolt.Tx, token string, id farshore.Identity, key string) error {
	var have nodeRecord
	ok, err := getJSON(tx, nodeBucket, id.String(), &have)
	if err != nil {
		return err
	}
	if ok && have.Key != key {
		var record tokenRecord
		if _, err := getJSON(tx, tokenBucket, token, &record); err != nil {
			return err
		}
		if !record.Replace {
			return enrolledAlready(id)
		}
		if err := tx.Bucket(deniedBucket).Put([]byte(have.Key), []byte(id.String())); err != nil {
			return err
		}
	}
	return tx.Bucket(deniedBucket).Delete([]byte(key)) // a removed host that was given a new token is welcome again
}

func refusedToken(id, what string) error {
	if len(id) > 32 {
		id = id[:32]
	}
	return &fault.Fault{
		Code: "FS-6010", Kind: fault.Refused, Subject: "join token " + id, What: what,
		Remedy: "make a new one: farshore token create --role ROLE --name NAME",
	}
}

// Authenticate says who calls. The certificate may be past its end by credential.Grace. The error is a *fault.Fault
// (FS-6012).
func (r *Registry) Authenticate(ctx context.Context) (farshore.Identity, error) {
	from := peer.From(ctx)
	refuse := func(what, remedy string, err error) (farshore.Identity, error) {
		return farshore.Identity{}, &fault.Fault{Code: "FS-6012", Kind: fault.Refused, Subject: "caller " + from.Address, What: what, Remedy: remedy, Err: err}
	}
	if len(from.State.PeerCertificates) == 0 {
		return refuse("it shows no certificate", "enrol first, or log in: farshore login --help", nil)
	}
	id, err := r.roots.Identify(hub.Chain(from.State.PeerCertificates), r.now())
	if err != nil {
		return refuse("its certificate is not accepted", "enrol again with a new join token", err)
	}
	key := keyHash(from.State.PeerCertificates[0])
	var record nodeRecord
	var denied bool
	err = r.db.View(func(tx *bbolt.Tx) error {
		denied = tx.Bucket(deniedBucket).Get([]byte(key)) != nil
		_, err := getJSON(tx, nodeBucket, id.String(), &record)
		return err
	})
	if err != nil {
		return farshore.Identity{}, err
	}
	if denied || (record.Key != "" && record.Key != key) {
		return refuse(fmt.Sprintf("it is %s no longer: it was removed, or another host has the name", id), "enrol again with a new join token", nil)
	}
	r.mu.Lock()
	r.heard[id] = heard{at: r.now(), build: r.heard[id].build}
	r.mu.Unlock()
	if record.Key == "" { // a server that was restored without its file learns its nodes anew
		err = r.remember(id, from.State.PeerCertificates[0])
	}
	return id, err
}

func (r *Registry) remember(id farshore.Identity, leaf *x509.Certificate) error {
	if !slices.Contains(joinable, id.Role) {
		return nil
	}
	err := r.db.Update(func(tx *bbolt.Tx) error {
		return putJSON(tx, nodeBucket, id.String(), nodeRecord{Identity: id, Key: keyHash(leaf), Enrolled: r.now().UTC(), CertificateEnd: leaf.NotAfter})
	})
	if err != nil {
		return fmt.Errorf("remember %s: %w", id, err)
	}
	r.log.Warn("a node that this server did not know showed a good certificate; admitted", "node", id)
	return nil
}

// keyHash names a certificate's key.
func keyHash(leaf *x509.Certificate) string {
	sum := sha256.Sum256(leaf.RawSubjectPublicKeyInfo)
	return hex.EncodeToString(sum[:])
}
