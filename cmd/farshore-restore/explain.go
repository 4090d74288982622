package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"farshore/dataplane/archive"
	"farshore/dataplane/block"
	"farshore/dataplane/changelog"
	"farshore/dataplane/hashes"
	"farshore/dataplane/hrl"
	"farshore/dataplane/journal"
	"farshore/dataplane/manifest"
	"farshore/dataplane/segment"
	"farshore/dataplane/sink"
	"farshore/dataplane/vault"
	"farshore/fault"
)

// tarMagic stands at tarMagicAt of a tar file.
const (
	tarMagic   = "ustar"
	tarMagicAt = 257
)

// distrusted begins the state of what nobody of this vault has signed.
const distrusted = "NOT BELIEVED: "

// large explains local files that may be too large to be read into memory: change logs and archives. false: it is none.
func (in *inspection) large(ctx context.Context) (bool, error) {
	f, err := os.Open(in.Name)
	if err != nil {
		return false, nil //nolint:nilerr // an object of the vault, or whoever reads it says what is wrong
	}
	defer f.Close()
	if s, err := f.Stat(); err == nil && s.IsDir() {
		return true, in.archive(ctx)
	}
	prefix := make([]byte, hrl.PageBytes)
	n, err := io.ReadFull(f, prefix)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return true, fmt.Errorf("read %s: %w", in.Name, err)
	}
	switch {
	case hrl.Recognise(prefix[:n]):
		return true, in.changeLog()
	case bytes.HasPrefix(prefix[tarMagicAt:], []byte(tarMagic)):
		return true, in.archive(ctx)
	}
	return false, nil
}

func (in *inspection) changeLog() error {
	report, err := changelog.InspectFile(in.Name)
	if err != nil {
		return err
	}
	in.Kind, in.Bytes, in.State, in.Changes = "change log", int(report.Bytes), report.State, report
	return nil
}

func (in *inspection) archive(ctx context.Context) error {
	a, err := archive.Open(ctx, in.Name)
	if err != nil {
		return err
	}
	in.Kind, in.Bytes = "archive", int(a.Bytes)
	in.State = fmt.Sprintf("every one of its %d objects has its sum, and its streams are whole", a.Objects)
	return in.describe(a.Head)
}

// describe makes anything the document of the inspection.
func (in *inspection) describe(document any) error {
	body, err := json.Marshal(document)
	if err != nil {
		return fmt.Errorf("describe %s: %w", in.Name, err)
	}
	in.Document = body
	return nil
}

// explain says what an object is by its first bytes.
func (in *inspection) explain(ctx context.Context, v *opened, body []byte) error {
	switch {
	case bytes.HasPrefix(body, []byte(segment.Magic)):
		return in.segment(ctx, v, body)
	case bytes.HasPrefix(body, []byte("FSHT")):
		return in.hashes(body)
	case bytes.HasPrefix(body, []byte("FSCL")):
		return in.chunks(body)
	case bytes.HasPrefix(body, []byte(sink.KnownMagic)):
		return in.granules(body)
	case bytes.HasPrefix(body, []byte("-----BEGIN FARSHORE")):
		return in.keys(body)
	}
	var probe struct {
		Signed  json.RawMessage `json:"signed"`
		Payload []byte          `json:"payload"`
	}
	if err := json.Unmarshal(body, &probe); err != nil {
		return in.unknown(err)
	}
	switch {
	case probe.Signed != nil:
		return in.ofTheCA(v, body, probe.Signed)
	case probe.Payload != nil:
		return in.signed(v, body)
	}
	return in.plain(body)
}

func (in *inspection) unknown(err error) error {
	return &fault.Fault{
		Code: "FS-3518", Kind: fault.Refused, Subject: in.Name, What: "it is of no format that is known", Err: err,
		Remedy: "see docs/formats for what there is",
	}
}

func (in *inspection) broken(err error) error {
	return &fault.Fault{
		Code: "FS-3518", Kind: fault.Corrupt, Subject: in.Name, What: "it is damaged", Err: err, Remedy: "find out what it costs: farshore-restore verify",
	}
}

func (in *inspection) hashes(body []byte) error {
	s, err := hashes.Parse(body)
	if err != nil {
		return in.broken(err)
	}
	zeros := 0
	for _, c := range s.Chunks {
		if c.Zero {
			zeros++
		}
	}
	in.Kind, in.State = "hashes", "structure and checksum are right; who made it shows only with the secret of its offer"
	return in.describe(map[string]any{
		"vault": s.Vault.String(), "machine": s.Machine, "generation": s.Generation, "epoch": s.Epoch, "offer": s.Offer, "disk": s.Disk,
		"number": s.Number, "sectors": s.Sectors, "chunks": len(s.Chunks), "zeros": zeros,
	})
}

func (in *inspection) chunks(body []byte) error {
	c, err := manifest.Decode(body)
	if err != nil {
		return in.broken(err)
	}
	zeros := 0
	for i := range c.Len() {
		if c.Zero(i) {
			zeros++
		}
	}
	in.Kind, in.State = "chunk list", "structure and checksum are right; the manifest that names its hash vouches for it"
	return in.describe(map[string]any{
		"sectors": c.Sectors, "chunkBytes": manifest.ChunkSectors.Bytes(), "chunks": c.Len(), "zeros": zeros, "sectorBytes": block.SectorSize,
	})
}

// granules says how much a master target knows of a disk.
func (in *inspection) granules(body []byte) error {
	known, all, err := sink.CountKnown(body)
	if err != nil {
		return in.broken(err)
	}
	in.Kind, in.State = "what is known of a sink", "structure and checksum are right"
	return in.describe(map[string]any{"known": known, "granules": all})
}

// keys says what a key file holds, never the key.
func (in *inspection) keys(body []byte) error {
	notes, err := vault.DescribeKeys(body)
	if err != nil {
		return in.broken(err)
	}
	in.Kind, in.State = "key file", "the checksums are right; no key is shown"
	return in.describe(notes)
}

// ofTheCA explains a document that the CA signs itself.
func (in *inspection) ofTheCA(v *opened, body, document []byte) error {
	var kind struct {
		Kind string `json:"kind"`
	}
	if err := json.Unmarshal(document, &kind); err != nil {
		return in.broken(err)
	}
	if in.Kind = kind.Kind; in.Kind == "" {
		in.Kind = "description"
	}
	in.Document, in.State = document, "signature not checked: name the vault"
	if v == nil {
		return nil
	}
	in.State = "signed by the vault's CA"
	var fields map[string]json.RawMessage
	if err := vault.ReadSigned(body, v.reader.Roots.DER(), &fields); err != nil {
		in.State = distrusted + err.Error()
	}
	return nil
}

// signed explains a document that a node signs.
func (in *inspection) signed(v *opened, body []byte) error {
	d, err := journal.ReadDocument(body)
	if err != nil {
		return in.broken(err)
	}
	in.Kind, in.Document, in.Ticket, in.Parts, in.State = d.Kind, d.Payload, d.Ticket, d.Parts, "signature not checked: name the vault"
	if v == nil {
		return nil
	}
	by, err := v.reader.Judge(in.Name, d)
	if err != nil {
		in.State = distrusted + err.Error()
		return nil
	}
	in.By, in.State = &by, "believed: signed by "+by.String()
	return nil
}

// plainKinds tells documents without a signature by a field that no other has.
var plainKinds = []struct{ field, kind, state string }{
	{"holder", "pin", "whoever makes a false one only keeps something"},
	{"intent", "state of a replica disk", "not signed: the journal makes it again"},
	{"identity", "state of a sink", "not signed: the journal makes its disk again"},
	{"utc", "checkpoint", "not signed: the journal makes it again"},
	{"parts", "head of an archive", "the sums of the archive vouch for it"},
	{"started", "incarnation of a configuration server", "for people"},
}

func (in *inspection) plain(body []byte) error {
	fields := map[string]json.RawMessage{}
	if err := json.Unmarshal(body, &fields); err != nil {
		return in.unknown(err)
	}
	for _, k := range plainKinds {
		if _, ok := fields[k.field]; ok {
			in.Kind, in.State, in.Document = k.kind, k.state, body
			return nil
		}
	}
	if kind := journal.KindOf(fields); kind != "" {
		in.Kind, in.State, in.Document = kind, "only the payload, without its signature", body
		return nil
	}
	return in.unknown(nil)
}
