package agent

import (
	"crypto/rand"
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

const (
	stateFile    = "agent.json"
	runFile      = "run.json"
	stateVersion = 2 // 1 did not say in which body
)

// state is what the agent knows of itself for as long as it is installed. It is on stable storage when saved.
type state struct {
	Version   int    `json:"version"`
	Instance  string `json:"instance"`  // one body of the machine: this installation on this hardware
	MachineID string `json:"machineId"` // what the operating system calls the machine
	Body      string `json:"body"`      // what the firmware calls the hardware; empty where it does not
	Session   uint64 `json:"session"`   // the last session that the instance began
	// NewGeneration: the wish for a new generation that is standing now has been fulfilled.
	NewGeneration bool                   `json:"newGeneration,omitempty"`
	CutNumber     uint64                 `json:"cutNumber,omitempty"` // the last request answered
	CutPoint      farshore.RecoveryPoint `json:"cutPoint,omitzero"`
	Comparison    *Comparison            `json:"comparison,omitempty"` // with the replica: the last one that ended, or found anything
	// Cookie begins every page of the change log's file. It is kept: a file of another one would be written anew at every start.
	Cookie []byte `json:"cookie,omitempty"`

	dir string
}

// loadState reads the state. On a machine that the operating system calls otherwise, or on other hardware (a clone, a restored
// image, the same machine at the recovery site), it is another instance, which keeps nothing but its name on the disks: moved
// is called before the new state is kept, to remove what its predecessor left. The vault decides what it may do.
func loadState(dir, body string, moved func() error) (*state, error) {
	id, err := host.InstallationID()
	if err != nil {
		return nil, err
	}
	s := &state{dir: dir}
	if err := readJSON(filepath.Join(dir, stateFile), s); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if s.Version > stateVersion {
		return nil, fmt.Errorf("read %s: it is of version %d, this program knows %d", filepath.Join(dir, stateFile), s.Version, stateVersion)
	}
	switch {
	case s.Version == stateVersion && s.MachineID == id && s.Body == body:
		return s, nil
	case s.Version == 1 && s.MachineID == id:
		s.Version, s.Body = stateVersion, body
		return s, s.save()
	case s.Version > 0:
		if err := moved(); err != nil {
			return nil, fmt.Errorf("remove what another instance left: %w", err)
		}
	}
	*s = state{Version: stateVersion, Instance: rand.Text(), MachineID: id, Body: body, dir: dir}
	return s, s.save()
}

// cookie gives the cookie of the change log.
func (s *state) cookie() (cookie [16]byte, err error) {
	if len(s.Cookie) != len(cookie) {
		s.Cookie = make([]byte, len(cookie))
		rand.Read(s.Cookie) // never returns an error
		err = s.save()
	}
	return [16]byte(s.Cookie), err
}

func (s *state) save() error { return writeJSON(filepath.Join(s.dir, stateFile), s) }

// runState goes with the bitmaps of the run directory. It lives as long as they do.
type runState struct {
	Boot       string                      `json:"boot,omitempty"` // of the machine
	Generation farshore.Generation         `json:"generation"`
	LastPoint  farshore.RecoveryPoint      `json:"lastPoint,omitzero"`
	Disks      map[farshore.DiskID]diskRun `json:"disks"`
}

// diskRun is what goes with the bitmaps of one disk.
type diskRun struct {
	Era     string      `json:"era"`
	Sectors block.Count `json:"sectors"`
	Joined  bool        `json:"joined,omitempty"` // it has been clean in this generation
	Fresh   bool        `json:"fresh,omitempty"`  // nothing of it was in the generation before its base: zeros need not be sent
	Spared  bool        `json:"spared,omitempty"` // what is free was taken out of the base, or cannot be
	Owed    int64       `json:"owed,omitempty"`   // bytes of the base when it was begun
	Told    bool        `json:"told,omitempty"`   // what the stream leaves unspecified is known
}

func readJSON(path string, into any) error {
	body, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	if err := document.Decode(body, into); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	return nil
}

// writeJSON replaces the file. It is on stable storage when writeJSON returns nil.
func writeJSON(path string, members any) error {
	body, err := document.Encode(members)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := host.Write(path, body); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
