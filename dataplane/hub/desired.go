package hub

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"google.golang.org/protobuf/encoding/protojson"

	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/dataplane/host"
)

// DesiredFile is the file in the client's folder that holds the last desired document, as JSON.
const DesiredFile = "desired.json"

// CompareVersions orders versions of desired documents: by incarnation, then by number; nil is the lowest.
func CompareVersions(a, b *farshorev1.Version) int {
	return cmp.Or(cmp.Compare(a.GetIncarnation(), b.GetIncarnation()), cmp.Compare(a.GetNumber(), b.GetNumber()))
}

// LoadDesired reads the desired document kept in dir; nil if there is none.
func LoadDesired(dir string) (*farshorev1.SyncResponse, error) {
	content, err := os.ReadFile(filepath.Join(dir, DesiredFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the desired document: %w", err)
	}
	document := &farshorev1.SyncResponse{}
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(content, document); err != nil {
		return nil, fmt.Errorf("read the desired document %s: %w", filepath.Join(dir, DesiredFile), err)
	}
	return document, nil
}

// ForgetDesired removes the desired document kept in dir: whoever takes the node's place on other hardware acts on nothing
// before the hub has spoken.
func ForgetDesired(dir string) error {
	if err := os.Remove(filepath.Join(dir, DesiredFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forget the desired document: %w", err)
	}
	return nil
}

// saveDesired replaces the document kept in dir. It is on stable storage when saveDesired returns nil.
func saveDesired(dir string, document *farshorev1.SyncResponse) (err error) {
	content, err := protojson.MarshalOptions{Multiline: true}.Marshal(document)
	if err != nil {
		return fmt.Errorf("write the desired document: %w", err)
	}
	tmp, err := os.CreateTemp(dir, "."+DesiredFile+"-*")
	if err != nil {
		return fmt.Errorf("write the desired document: %w", err)
	}
	_, err = tmp.Write(content)
	err = errors.Join(err, tmp.Sync(), tmp.Close())
	if err == nil {
		err = host.Replace(tmp.Name(), filepath.Join(dir, DesiredFile))
	}
	if err != nil {
		return fmt.Errorf("write the desired document: %w", errors.Join(err, os.Remove(tmp.Name())))
	}
	return nil
}
