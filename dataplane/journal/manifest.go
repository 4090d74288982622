package journal

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"farshore"
	"farshore/dataplane/block"
	"farshore/dataplane/chain"
	"farshore/dataplane/manifest"
	"farshore/dataplane/segment"
	"farshore/dataplane/vault"
	"farshore/fault"
)

// Manifest is what is known for good of a recovery point that outlives the segments around it: where it stands in the
// stream and what its disks hold. It is stored signed by a node that keeps replicas, under [chain.ManifestName].
type Manifest struct {
	At          chain.Link
	Boot        time.Duration
	Suspect     bool
	Consistency farshore.Consistency
	Label       string
	Disks       []ManifestDisk
	Time        time.Time         // the signer's clock
	By          farshore.Identity // who signed it

	Previous     string // name of the manifest that was made before this one; empty: it is the machine's first
	PreviousHash string // SHA-256 of that object, in hexadecimal
}

// ManifestDisk is one disk at the point.
type ManifestDisk struct {
	Disk     farshore.DiskID  `json:"disk"`
	Sectors  block.Count      `json:"sectors"`
	Snapshot vault.SnapshotID `json:"snapshot"` // of the replica disk
	Chunks   string           `json:"chunks"`   // SHA-256 of the chunk list, in hexadecimal
}

// Disk finds a disk of the base. No base has no disks.
func (m *Manifest) Disk(id farshore.DiskID) (ManifestDisk, bool) {
	if m == nil {
		return ManifestDisk{}, false
	}
	i := slices.IndexFunc(m.Disks, func(d ManifestDisk) bool { return d.Disk == id })
	if i < 0 {
		return ManifestDisk{}, false
	}
	return m.Disks[i], true
}

// Use opens the replica disk whose snapshot holds a disk of the base, for as long as use takes.
func (m *Manifest) Use(ctx context.Context, replicas vault.Replicas, d ManifestDisk, use func(vault.ReplicaDisk) error) error {
	from, err := replicas.Open(ctx, chain.ReplicaName(m.At.Stream.Machine, m.At.Stream.Generation, d.Disk))
	if err != nil {
		return fmt.Errorf("read the base at %v of machine %s: %w", m.At.Position, m.At.Stream.Machine, err)
	}
	return errors.Join(use(from), from.Close())
}

type manifestDocument struct {
	Version     int                  `json:"version"`
	Vault       string               `json:"vault"`
	Machine     farshore.MachineID   `json:"machine"`
	At          place                `json:"at"`
	BootNanos   int64                `json:"bootNanos"`
	Suspect     bool                 `json:"suspect,omitempty"`
	Consistency farshore.Consistency `json:"consistency,omitempty"`
	Label       string               `json:"label,omitempty"`
	Disks       []ManifestDisk       `json:"disks"`
	Previous    *previousManifest    `json:"previous,omitempty"`
	Time        time.Time            `json:"time"`
}

type previousManifest struct {
	Name string `json:"name"`
	Hash string `json:"hash"` // SHA-256 of the whole object, in hexadecimal
}

func (d *manifestDocument) at() time.Time { return d.Time }

// Header is the segment header that the manifest stands for, as far as points need it.
func (m Manifest) Header() segment.Header {
	return segment.Header{
		Vault: m.At.Stream.Vault, Machine: m.At.Stream.Machine, Generation: m.At.Position.Generation, Epoch: m.At.Position.Epoch, Seq: m.At.Position.Seq,
		LastLSN: m.At.LastLSN, BootLast: m.Boot, UTC: m.At.UTC, Suspect: m.Suspect, Consistency: m.Consistency, Label: m.Label, Disks: m.At.Disks,
	}
}

// ManifestOf begins the manifest of the point at a segment's end.
func ManifestOf(h segment.Header, hash segment.Hash) Manifest {
	return Manifest{At: chain.LinkOf(h, hash), Boot: h.BootLast, Suspect: h.Suspect, Consistency: h.Consistency, Label: h.Label}
}

// PutManifest chains a manifest to the newest one of its machine, signs and stores it. One that is there already stays.
func PutManifest(ctx context.Context, d Deps, m Manifest) error {
	machine := m.At.Stream.Machine
	doc := manifestDocument{
		Version: Version, Vault: d.Vault.String(), Machine: machine, At: placeOf(m.At), BootNanos: int64(m.Boot), Suspect: m.Suspect,
		Consistency: m.Consistency, Label: m.Label, Disks: m.Disks, Time: d.Now().UTC(),
	}
	r := Reader{Store: d.Store, Vault: d.Vault, Roots: d.Roots, Report: d.Report}
	before, err := r.manifestBefore(ctx, m.At.Stream.Machine, m.At.Position)
	if err != nil {
		return err
	}
	if before != "" {
		body, found, err := get(ctx, d.Store, before)
		if err != nil {
			return fmt.Errorf("read %s: %w", before, err)
		}
		if found {
			sum := sha256.Sum256(body)
			doc.Previous = &previousManifest{Name: before, Hash: hex.EncodeToString(sum[:])}
		}
	}
	body, err := store(d.Signer, manifestDomain, doc)
	if err != nil {
		return err
	}
	if _, err := put(ctx, d.Store, chain.ManifestName(machine, m.At.Position), body); err != nil { // Other: its like was put by an applier before this one
		return fmt.Errorf("put the manifest of %v of machine %s: %w", m.At.Position, machine, err)
	}
	return nil
}

// manifestBefore gives the name of the newest manifest in front of a position, in any generation; empty if there is none.
func (r Reader) manifestBefore(ctx context.Context, m farshore.MachineID, p farshore.Position) (string, error) {
	generations, err := r.Generations(ctx, m)
	if err != nil {
		return "", err
	}
	for _, g := range slices.Backward(generations) {
		all, err := r.Manifests(ctx, m, g)
		if err != nil {
			return "", err
		}
		for _, at := range slices.Backward(all) {
			if at.Compare(p) < 0 {
				return chain.ManifestName(m, at), nil
			}
		}
	}
	return "", nil
}

// Manifests lists the points of a generation that have a manifest, in order. None of them was read.
func (r Reader) Manifests(ctx context.Context, m farshore.MachineID, g farshore.Generation) ([]farshore.Position, error) {
	entries, err := list(ctx, r.Store, chain.ManifestPrefix(m, g))
	if err != nil {
		return nil, fmt.Errorf("list the manifests of machine %s: %w", m, err)
	}
	var found []farshore.Position
	for _, e := range entries {
		if _, p, err := chain.ParseManifestName(e.Name); err == nil {
			found = append(found, p)
		}
	}
	return found, nil
}

// Manifest reads the manifest of a point. It is a fault if there is none (FS-3516) or if it is not believed (FS-3530).
func (r Reader) Manifest(ctx context.Context, m farshore.MachineID, p farshore.Position) (Manifest, error) {
	name := chain.ManifestName(m, p)
	stored, found, err := get(ctx, r.Store, name)
	if err != nil {
		return Manifest{}, fmt.Errorf("read %s: %w", name, err)
	}
	if !found {
		return Manifest{}, &fault.Fault{
			Code: "FS-3516", Kind: fault.Refused, Subject: fmt.Sprintf("machine %s, point %v", m, p), What: "it has no manifest",
			Remedy: "list the points: farshore-restore points " + string(m),
		}
	}
	return ReadManifest(r, name, stored)
}

// HeaderAt reads the header of the segment that ends at a position. Where retention has removed the segment, the manifest of the
// point says the same; it is a fault if there is neither (FS-3516).
func (r Reader) HeaderAt(ctx context.Context, m farshore.MachineID, p farshore.Position) (segment.Header, error) {
	name := chain.NameOf(m, p)
	prefix, err := r.Store.GetRange(ctx, name, 0, segment.MaxHeaderBytes)
	if errors.Is(err, vault.ErrNotFound) {
		doc, err := r.Manifest(ctx, m, p)
		return doc.Header(), err
	}
	var h segment.Header
	if err == nil {
		h, err = segment.ParseHeader(prefix)
	}
	if err != nil {
		return segment.Header{}, fmt.Errorf("read the header of %s: %w", name, err)
	}
	return h, nil
}

// ReadManifest verifies a stored manifest.
func ReadManifest(r Reader, name string, stored []byte) (Manifest, error) {
	machine, p, err := chain.ParseManifestName(name)
	if err != nil {
		return Manifest{}, badManifest(name, err)
	}
	var d manifestDocument
	by, err := believe(r.Roots, stored, manifestDomain, &d, farshore.RoleApplier, farshore.RoleMasterTarget)
	if err != nil {
		return Manifest{}, badManifest(name, err)
	}
	m := Manifest{
		Boot: time.Duration(d.BootNanos), Suspect: d.Suspect, Consistency: d.Consistency, Label: d.Label, Disks: d.Disks, Time: d.Time, By: by,
	}
	if d.Previous != nil {
		m.Previous, m.PreviousHash = d.Previous.Name, d.Previous.Hash
	}
	m.At, err = d.At.link(chain.Stream{Vault: r.Vault, Machine: machine, Generation: p.Generation})
	switch {
	case err != nil:
	case d.Version != Version || d.Vault != r.Vault.String() || d.Machine != machine || m.At.Position != p:
		err = fmt.Errorf("version %d, made for %s of machine %s in vault %s", d.Version, d.At.Position, d.Machine, d.Vault)
	case !m.At.Clean || m.At.Seal || len(m.Disks) == 0:
		err = errors.New("it stands at no recovery point")
	}
	if err != nil {
		return Manifest{}, badManifest(name, err)
	}
	return m, nil
}

func badManifest(name string, err error) error {
	return &fault.Fault{
		Code: "FS-3530", Kind: fault.Corrupt, Subject: name, What: "the manifest of the point is not believed",
		Remedy: "choose another recovery point; find out who writes to the vault besides Farshore", Err: err,
	}
}

// Chunks reads the chunk list of a disk and makes sure that it is the one which the manifest names (FS-3530).
func (r Reader) Chunks(ctx context.Context, m Manifest, d ManifestDisk) (*manifest.Chunks, error) {
	name := chain.ChunksName(m.At.Stream.Machine, m.At.Position, d.Disk)
	body, found, err := get(ctx, r.Store, name)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if !found {
		return nil, badManifest(name, errors.New("it is gone"))
	}
	if sum := sha256.Sum256(body); !strings.EqualFold(hex.EncodeToString(sum[:]), d.Chunks) {
		return nil, badManifest(name, fmt.Errorf("its hash is %x, the manifest names %s", sum, d.Chunks))
	}
	c, err := manifest.Decode(body)
	if err == nil && c.Sectors != d.Sectors {
		err = fmt.Errorf("it is of a disk of %d sectors, the manifest says %d", c.Sectors, d.Sectors)
	}
	if err != nil {
		return nil, badManifest(name, err)
	}
	return c, nil
}
