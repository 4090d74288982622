package nodes

import (
	"bytes"
	"cmp"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.etcd.io/bbolt"

	"farshore"
	farshorev1 "farshore/api/gen/farshore/v1"
)

// A machine has several bodies in its life, and they all report under its name: the source, the VM at the recovery site, the
// machine that came home. What each says is kept apart.

// maxInstances limits how many bodies of one machine are remembered; the one that was silent longest is forgotten first.
const maxInstances = 16

var instanceName = regexp.MustCompile(`^[A-Za-z0-9_-]{0,64}$`)

// reports are what the instances of one node said last. Nodes other than agents have one, without a name.
type reports map[string]observation

// order gives the instances, the one that spoke last first.
func (p reports) order() []string {
	return slices.SortedFunc(maps.Keys(p), func(a, b string) int {
		return cmp.Or(p[b].at.Compare(p[a].at), cmp.Compare(a, b))
	})
}

// of gives what counts of a node: what the wanted instance said, or if none is wanted whoever spoke last.
func (p reports) of(wanted string) (observation, bool) {
	if wanted == "" && len(p) > 0 {
		wanted = p.order()[0]
	}
	o, ok := p[wanted]
	return o, ok
}

// outlived names the instances that are forgotten when one reports: what was said at the enrolment, once an instance with a
// name speaks, and the most silent one of too many.
func (p reports) outlived(by, wanted string) (gone []string) {
	left := slices.DeleteFunc(p.order(), func(i string) bool { return i == by || i == wanted })
	for len(left) > 0 && (left[len(left)-1] == "" || len(left) > maxInstances-2) {
		gone = append(gone, left[len(left)-1])
		left = left[:len(left)-1]
	}
	return gone
}

// Observed is what a node last reported, and when; ok is false if it never did. Of a machine with several bodies it is what
// the wanted one reported. The report must not be changed.
func (r *Registry) Observed(id farshore.Identity) (report *farshorev1.SyncRequest, at time.Time, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	o, ok := r.observed[id].of(r.wanted[id])
	return o.report, o.at, ok
}

// ObservedOf is what one instance of a node last reported, and when.
func (r *Registry) ObservedOf(id farshore.Identity, instance string) (report *farshorev1.SyncRequest, at time.Time, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	o, ok := r.observed[id][instance]
	return o.report, o.at, ok
}

// Instances lists the instances of a node that have reported, the one that spoke last first.
func (r *Registry) Instances(id farshore.Identity) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.DeleteFunc(r.observed[id].order(), func(i string) bool { return i == "" })
}

// Body is what one body of a machine said last.
type Body struct {
	Instance  string
	Acts      bool // what is wanted of the machine is wanted of this one
	Connected bool
	LastSeen  time.Time
	Report    *farshorev1.SyncRequest // must not be changed
}

// Bodies lists the bodies of a machine that have reported, the one that spoke last first.
func (r *Registry) Bodies(id farshore.Identity) (all []Body) {
	r.mu.Lock()
	defer r.mu.Unlock()
	acting, _ := r.observed[id].of(r.wanted[id])
	for _, instance := range r.observed[id].order() {
		if instance == "" { // its enrolment
			continue
		}
		o := r.observed[id][instance]
		all = append(all, Body{
			Instance: instance, Acts: o.report == acting.report, Connected: r.now().Sub(o.at) < connectedFor, LastSeen: o.at, Report: o.report,
		})
	}
	return all
}

// note keeps what an instance reported.
func (r *Registry) note(id farshore.Identity, instance string, o observation) error {
	content, err := encodeObservation(o)
	if err != nil {
		return err
	}
	r.mu.Lock()
	gone := r.observed[id].outlived(instance, r.wanted[id])
	r.mu.Unlock()
	// Batch: many nodes report at the same time, and one fsync serves them all.
	err = r.db.Batch(func(tx *bbolt.Tx) error {
		for _, old := range gone {
			if err := tx.Bucket(observedBucket).Delete(reportKey(id, old)); err != nil {
				return err
			}
		}
		return tx.Bucket(observedBucket).Put(reportKey(id, instance), content)
	})
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.observed[id] == nil {
		r.observed[id] = reports{}
	}
	for _, old := range gone {
		delete(r.observed[id], old)
	}
	r.observed[id][instance] = o
	return nil
}

// reportKey is where the report of an instance is kept: "agent/web-01/KZ2S...", without the last part for one without a name.
func reportKey(id farshore.Identity, instance string) []byte {
	if instance == "" {
		return []byte(id.String())
	}
	return []byte(id.String() + "/" + instance)
}

func parseReportKey(key []byte) (id farshore.Identity, instance string) {
	role, rest, _ := strings.Cut(string(key), "/")
	name, instance, _ := strings.Cut(rest, "/")
	return farshore.Identity{Role: farshore.Role(role), Name: name}, instance
}

// forgetReports removes what all instances of a node reported.
func forgetReports(tx *bbolt.Tx, id farshore.Identity) error {
	own, prefix := reportKey(id, ""), reportKey(id, "x")
	prefix = prefix[:len(prefix)-1]
	var keys [][]byte
	c := tx.Bucket(observedBucket).Cursor()
	for k, _ := c.Seek(own); k != nil && bytes.HasPrefix(k, own); k, _ = c.Next() {
		if bytes.Equal(k, own) || bytes.HasPrefix(k, prefix) {
			keys = append(keys, bytes.Clone(k))
		}
	}
	for _, k := range keys {
		if err := tx.Bucket(observedBucket).Delete(k); err != nil {
			return err
		}
	}
	return nil
}
