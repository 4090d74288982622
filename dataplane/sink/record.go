package sink

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"farshore"
	"farshore/dataplane/block"
	"farshore/dataplane/document"
	"farshore/dataplane/host"
)

const recordVersion = 1

// record is what is stored of a sink, as a document with a checksum (docs/formats/sink.md).
type record struct {
	Version  int                `json:"version"`
	Machine  farshore.MachineID `json:"machine"`
	Disk     farshore.DiskID    `json:"disk"`
	Kind     farshore.HomeKind  `json:"kind"`
	Path     string             `json:"path"`
	Identity string             `json:"identity"` // what the medium calls itself

	Name    string      `json:"name,omitempty"` // of the replica disk that it is; empty: nothing was begun
	Sectors block.Count `json:"sectors"`        // its size now
	State   []byte      `json:"state,omitempty"`
	Written int64       `json:"written"` // bytes since it was begun
	Equal   int64       `json:"equal"`

	Signature string `json:"signature,omitempty"` // of its content at rest; empty: it is being written
}

func syncFolder(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func (d *taken) recordPath() string { return filepath.Join(d.dir, "sink.json") }
func (d *taken) knownPath() string  { return filepath.Join(d.dir, "known") }

// save stores the record.
func (d *taken) save() error {
	body, err := document.Encode(d.record)
	if err == nil {
		err = host.Write(d.recordPath(), body)
	}
	if err != nil {
		return operator("FS-4111", d.sink, "its state cannot be stored in "+d.dir, "free space there, and see that the folder can be written", err)
	}
	return nil
}

// load reads the record; ok is false if there is none.
func (d *taken) load() (ok bool, err error) {
	body, err := os.ReadFile(d.recordPath())
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	var r record
	if err == nil {
		err = document.Decode(body, &r)
	}
	if err == nil && r.Version != recordVersion {
		err = fmt.Errorf("version %d, this program knows %d", r.Version, recordVersion)
	}
	if err != nil {
		return false, operator("FS-4111", d.sink, "its state in "+d.dir+" cannot be read",
			"take the disk back and give it again: what it holds is compared then, and only what differs is written", err)
	}
	d.record = r
	return true, nil
}

// signaturePlaces is of how many places of a disk its signature is made.
const signaturePlaces = 16

// signature is a hash of a few places of the disk: enough to notice another disk, or another writer, where the hardware has
// no name.
func (d *taken) signature() (string, error) {
	h := sha256.New()
	piece := alignedBuffer(pieceBytes)
	size := d.record.Sectors.Bytes()
	for i := range int64(signaturePlaces) {
		at := size / signaturePlaces * i &^ (pieceBytes - 1)
		p := piece[:min(pieceBytes, size-at)]
		if _, err := d.medium.ReadAt(p, at); err != nil {
			return "", d.trouble("it cannot be read", err)
		}
		h.Write(p)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// Doubt makes what is known of a machine's sinks, whose states lie in folders in dir, count no longer: somebody else may have
// written to them. They stay the machine's, and what they hold is compared.
func Doubt(dir string) error {
	found, err := filepath.Glob(filepath.Join(dir, "*", "sink.json"))
	if err != nil {
		return err
	}
	for _, path := range found {
		d := &taken{dir: filepath.Dir(path), sink: Sink{Path: path}}
		if _, err := d.load(); err != nil {
			return err
		}
		if err := d.clear(); err != nil {
			return err
		}
	}
	return nil
}
