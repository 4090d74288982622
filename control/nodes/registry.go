package nodes

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"go.etcd.io/bbolt"
	"google.golang.org/protobuf/proto"

	"farshore"
	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/control/audit"
	"farshore/control/authority"
	"farshore/dataplane/credential"
	"farshore/fault"
)

// connectedFor is how long after its last word a node counts as connected: it speaks at least every thirty seconds.
const connectedFor = 45 * time.Second

// Registry knows the nodes. It is safe for concurrent use.
type Registry struct {
	db          *bbolt.DB
	authority   *authority.Authority
	roots       *credential.Roots
	audit       *audit.Log
	incarnation uint64
	now         func() time.Time
	log         *slog.Logger

	desiring sync.Mutex

	mu       sync.Mutex
	observed map[farshore.Identity]reports
	wanted   map[farshore.Identity]string // the instance that shall act, of agents with a document that names one
	heard    map[farshore.Identity]heard
	watchers map[string]chan struct{} // closed and removed when what they watch changes
}

// heard is what is known of a node without a report.
type heard struct {
	at    time.Time
	build string
}

// Config is what a registry needs.
type Config struct {
	Path        string // of the bbolt file
	Authority   *authority.Authority
	Audit       *audit.Log
	Incarnation uint64 // higher than that of every server that ever served this vault
	Now         func() time.Time
	Log         *slog.Logger
}

// Open opens the registry, making its file if it is not there. The error is a *fault.Fault (FS-6024) if the file cannot be
// used.
func Open(c Config) (*Registry, error) {
	roots, err := credential.RootsFromDER(c.Authority.Certificate())
	if err != nil {
		return nil, err
	}
	db, err := openStore(c.Path)
	if err != nil {
		return nil, err
	}
	r := &Registry{
		db: db, authority: c.Authority, roots: roots, audit: c.Audit, incarnation: c.Incarnation, now: c.Now, log: c.Log,
		observed: map[farshore.Identity]reports{}, wanted: map[farshore.Identity]string{}, heard: map[farshore.Identity]heard{}, watchers: map[string]chan struct{}{},
	}
	if err := r.loadObserved(); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return r, nil
}

// Close closes the file.
func (r *Registry) Close() error { return r.db.Close() }

func (r *Registry) loadObserved() error {
	return r.db.View(func(tx *bbolt.Tx) error {
		err := tx.Bucket(observedBucket).ForEach(func(key, content []byte) error {
			id, instance := parseReportKey(key)
			o, err := decodeObservation(content)
			if err != nil {
				return err
			}
			if r.observed[id] == nil {
				r.observed[id] = reports{}
			}
			r.observed[id][instance] = o
			return nil
		})
		if err != nil {
			return err
		}
		return tx.Bucket(desiredBucket).ForEach(func(key, _ []byte) error {
			id, _ := parseReportKey(key)
			document, err := getDesired(tx, id)
			r.wanted[id] = document.GetAgent().GetInstance()
			return err
		})
	})
}

// SetDesired changes what is desired of a node: change is given the present document and changes it. A document that
// comes out as it was keeps its version. What was desired is on stable storage when SetDesired returns nil; the node hears
// of it when it next asks, which may be never. change may run more than once.
func (r *Registry) SetDesired(_ context.Context, id farshore.Identity, change func(*farshorev1.SyncResponse)) error {
	r.desiring.Lock() // so that wanted is what the last of several changes wants
	defer r.desiring.Unlock()
	changed, wanted := false, ""
	err := r.db.Update(func(tx *bbolt.Tx) error {
		document, err := getDesired(tx, id)
		if err != nil {
			return err
		}
		before := proto.CloneOf(document)
		change(document)
		document.Version = before.GetVersion()
		changed, wanted = !proto.Equal(before, document), document.GetAgent().GetInstance()
		if !changed {
			return nil
		}
		document.Version = &farshorev1.Version{Number: before.GetVersion().GetNumber() + 1}
		return putDesired(tx, id, document)
	})
	if err != nil {
		return fmt.Errorf("set what is desired of %s: %w", id, err)
	}
	if changed {
		r.mu.Lock()
		r.wanted[id] = wanted
		r.mu.Unlock()
		r.wake(desiredKey(id))
	}
	return nil
}

// Desired is what is desired of a node, with its full version; ok is false if nothing was ever desired of it.
func (r *Registry) Desired(id farshore.Identity) (document *farshorev1.SyncResponse, ok bool, err error) {
	err = r.db.View(func(tx *bbolt.Tx) error {
		document, err = getDesired(tx, id)
		return err
	})
	if err != nil || document.GetVersion().GetNumber() == 0 {
		return nil, false, err
	}
	document.Version.Incarnation = r.incarnation
	return document, true, nil
}

// AwaitObserved waits for a report of the node of which holds is true: the last one, or one to come. It waits until ctx is
// done.
func (r *Registry) AwaitObserved(ctx context.Context, id farshore.Identity, holds func(*farshorev1.SyncRequest) bool) (*farshorev1.SyncRequest, error) {
	for {
		changed := r.watch(observedKey(id))
		if report, _, ok := r.Observed(id); ok && holds(report) {
			return report, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, &fault.Fault{
				Code: "FS-6026", Kind: fault.Transient, Subject: id.String(), What: "it did not report what was awaited",
				Remedy: "see whether it is connected: farshore node list", Err: ctx.Err(),
			}
		}
	}
}

// Changed gives a channel that is closed at the next report of any node.
func (r *Registry) Changed() <-chan struct{} { return r.watch(anyReport) }

// Node is an enrolled node.
type Node struct {
	Identity       farshore.Identity
	Build          string
	Enrolled       time.Time
	LastSeen       time.Time // zero: not since it enrolled, or not since this server started and it never reported
	Connected      bool
	CertificateEnd time.Time
	Report         *farshorev1.SyncRequest // the last one; nil if there is none; must not be changed
}

// List lists the enrolled nodes of the roles, or of all roles if none is named, in the order of their names.
func (r *Registry) List(roles ...farshore.Role) ([]Node, error) {
	var list []Node
	err := r.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(nodeBucket).ForEach(func(key, _ []byte) error {
			var record nodeRecord
			if _, err := getJSON(tx, nodeBucket, string(key), &record); err != nil {
				return err
			}
			if len(roles) == 0 || slices.Contains(roles, record.Identity.Role) {
				list = append(list, r.node(record))
			}
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("list the nodes: %w", err)
	}
	return list, nil
}

// Enrolled lists the identities of the enrolled nodes of a role, in the order of their names.
func (r *Registry) Enrolled(role farshore.Role) ([]farshore.Identity, error) {
	list, err := r.List(role)
	if err != nil {
		return nil, err
	}
	ids := make([]farshore.Identity, len(list))
	for i, n := range list {
		ids[i] = n.Identity
	}
	return ids, nil
}

// Find gives one enrolled node.
func (r *Registry) Find(id farshore.Identity) (node Node, ok bool, err error) {
	err = r.db.View(func(tx *bbolt.Tx) error {
		var record nodeRecord
		ok, err = getJSON(tx, nodeBucket, id.String(), &record)
		if ok {
			node = r.node(record)
		}
		return err
	})
	return node, ok, err
}

func (r *Registry) node(record nodeRecord) Node {
	r.mu.Lock()
	defer r.mu.Unlock()
	wanted := r.wanted[record.Identity]
	o, _ := r.observed[record.Identity].of(wanted)
	seen, build := o.at, o.report.GetBuild()
	if h := r.heard[record.Identity]; wanted == "" { // else it may be another body that was heard
		build = cmp.Or(h.build, build)
		if h.at.After(seen) {
			seen = h.at
		}
	}
	return Node{
		Identity: record.Identity, Build: build, Enrolled: record.Enrolled, LastSeen: seen,
		Connected: r.now().Sub(seen) < connectedFor, CertificateEnd: record.CertificateEnd, Report: o.report,
	}
}

// Remove refuses a node from now on, and the token that it used; its name can be enrolled again. The error is a *fault.Fault (FS-6017) if there is none.
func (r *Registry) Remove(id farshore.Identity) error {
	err := r.db.Update(func(tx *bbolt.Tx) error {
		var record nodeRecord
		ok, err := getJSON(tx, nodeBucket, id.String(), &record)
		if err != nil {
			return err
		}
		if !ok {
			return NoSuchNode(id)
		}
		return errors.Join(
			forgetTokens(tx, func(t tokenRecord) bool { return t.UsedBy == record.Key }),
			tx.Bucket(deniedBucket).Put([]byte(record.Key), []byte(id.String())),
			tx.Bucket(nodeBucket).Delete([]byte(id.String())),
			tx.Bucket(desiredBucket).Delete([]byte(id.String())),
			forgetReports(tx, id),
		)
	})
	if err != nil {
		return err
	}
	r.mu.Lock()
	delete(r.observed, id)
	delete(r.wanted, id)
	delete(r.heard, id)
	r.mu.Unlock()
	r.wake(desiredKey(id))
	r.wake(anyReport)
	return nil
}

// NoSuchNode is the fault of a name that nobody has.
func NoSuchNode(id farshore.Identity) error {
	return &fault.Fault{
		Code: "FS-6017", Kind: fault.Refused, Subject: id.String(), What: "no node has this name", Remedy: "see: farshore node list",
	}
}

// anyReport is the key under which every report wakes.
const anyReport = "observed"

func desiredKey(id farshore.Identity) string  { return "desired/" + id.String() }
func observedKey(id farshore.Identity) string { return "observed/" + id.String() }

// watch gives a channel that is closed when key next changes.
func (r *Registry) watch(key string) <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, ok := r.watchers[key]
	if !ok {
		c = make(chan struct{})
		r.watchers[key] = c
	}
	return c
}

func (r *Registry) wake(key string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c, ok := r.watchers[key]; ok {
		close(c)
		delete(r.watchers, key)
	}
}
