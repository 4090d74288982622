package nodes

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
	"google.golang.org/protobuf/proto"

	"farshore"
	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/fault"
)

// The buckets of the file. Keys are identities ("agent/web-01") unless said otherwise.
var (
	tokenBucket    = []byte("tokens")   // token id -> tokenRecord, JSON
	nodeBucket     = []byte("nodes")    // -> nodeRecord, JSON
	deniedBucket   = []byte("denied")   // key hash -> identity
	desiredBucket  = []byte("desired")  // -> SyncResponse; its version has the number only
	observedBucket = []byte("observed") // of each instance, see reportKey -> 8 bytes of unix nanoseconds, SyncRequest
)

const openTimeout = 2 * time.Second

// tokenRecord is a join token as it is kept.
type tokenRecord struct {
	Public  []byte            `json:"public"`
	For     farshore.Identity `json:"for"`
	Expires time.Time         `json:"expires"`
	Replace bool              `json:"replace,omitempty"`
	UsedBy  string            `json:"usedBy,omitempty"` // hash of the key that was admitted
}

// nodeRecord is an enrolled node as it is kept.
type nodeRecord struct {
	Identity       farshore.Identity `json:"identity"`
	Key            string            `json:"key"` // SHA-256 of its public key, hex
	Enrolled       time.Time         `json:"enrolled"`
	CertificateEnd time.Time         `json:"certificateEnd"`
}

// openStore opens the file. The error is a *fault.Fault (FS-6024).
func openStore(path string) (*bbolt.DB, error) {
	cannot := func(what, remedy string, err error) error {
		return &fault.Fault{Code: "FS-6024", Kind: fault.Operator, Subject: "store " + path, What: what, Remedy: remedy, Err: err}
	}
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: openTimeout})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, cannot("another process has it open", "stop the other farshore-control", nil)
	}
	if err != nil {
		return nil, cannot("it cannot be opened", "check its folder and its disk, or restore it from a backup", err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		for _, name := range [][]byte{tokenBucket, nodeBucket, deniedBucket, desiredBucket, observedBucket} {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, errors.Join(cannot("it cannot be written", "check its folder and its disk", err), db.Close())
	}
	return db, nil
}

// getJSON reads a record; ok is false if there is none.
func getJSON(tx *bbolt.Tx, bucket []byte, key string, into any) (ok bool, err error) {
	content := tx.Bucket(bucket).Get([]byte(key))
	if content == nil {
		return false, nil
	}
	if err := json.Unmarshal(content, into); err != nil {
		return false, fmt.Errorf("read %s %q: %w", bucket, key, err)
	}
	return true, nil
}

func putJSON(tx *bbolt.Tx, bucket []byte, key string, record any) error {
	content, err := json.Marshal(record)
	if err != nil {
		return fmt.Errorf("write %s %q: %w", bucket, key, err)
	}
	return tx.Bucket(bucket).Put([]byte(key), content)
}

// getDesired reads a node's desired document; a new one, number 0 and empty for its role, if there is none.
func getDesired(tx *bbolt.Tx, id farshore.Identity) (*farshorev1.SyncResponse, error) {
	document := &farshorev1.SyncResponse{Version: &farshorev1.Version{}}
	content := tx.Bucket(desiredBucket).Get([]byte(id.String()))
	if content != nil {
		if err := proto.Unmarshal(content, document); err != nil {
			return nil, fmt.Errorf("read what is desired of %s: %w", id, err)
		}
		return document, nil
	}
	switch id.Role {
	case farshore.RoleAgent:
		document.Desired = &farshorev1.SyncResponse_Agent{Agent: &farshorev1.AgentDesired{}}
	case farshore.RoleProcessServer:
		document.Desired = &farshorev1.SyncResponse_ProcessServer{ProcessServer: &farshorev1.ProcessServerDesired{}}
	case farshore.RoleMasterTarget:
		document.Desired = &farshorev1.SyncResponse_MasterTarget{MasterTarget: &farshorev1.MasterTargetDesired{}}
	case farshore.RoleApplier:
		document.Desired = &farshorev1.SyncResponse_Applier{Applier: &farshorev1.ApplierDesired{}}
	case farshore.RoleCollector:
		document.Desired = &farshorev1.SyncResponse_Collector{Collector: &farshorev1.CollectorDesired{}}
	case farshore.RoleControl, farshore.RoleOperator:
		return nil, fmt.Errorf("nothing can be desired of %s", id)
	}
	return document, nil
}

func putDesired(tx *bbolt.Tx, id farshore.Identity, document *farshorev1.SyncResponse) error {
	content, err := proto.Marshal(document)
	if err != nil {
		return fmt.Errorf("write what is desired of %s: %w", id, err)
	}
	return tx.Bucket(desiredBucket).Put([]byte(id.String()), content)
}

// observation is what a node last reported.
type observation struct {
	report *farshorev1.SyncRequest
	at     time.Time // zero: it was said at enrolment
}

func encodeObservation(o observation) ([]byte, error) {
	content, err := proto.Marshal(o.report)
	if err != nil {
		return nil, fmt.Errorf("write an observation: %w", err)
	}
	var at int64
	if !o.at.IsZero() {
		at = o.at.UnixNano()
	}
	return append(binary.BigEndian.AppendUint64(nil, uint64(at)), content...), nil
}

func decodeObservation(content []byte) (observation, error) {
	if len(content) < 8 {
		return observation{}, fmt.Errorf("read an observation: %d bytes", len(content))
	}
	o := observation{report: &farshorev1.SyncRequest{}}
	if at := int64(binary.BigEndian.Uint64(content)); at != 0 {
		o.at = time.Unix(0, at)
	}
	if err := proto.Unmarshal(content[8:], o.report); err != nil {
		return observation{}, fmt.Errorf("read an observation: %w", err)
	}
	return o, nil
}
