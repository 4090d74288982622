package main

import (
	"cmp"
	"os"
	"path/filepath"
	"time"

	"farshore/dataplane/disk"
	"farshore/dataplane/disk/shadow"
	"farshore/dataplane/windows/drive"
	"farshore/dataplane/windows/vss"
)

var (
	dataDir       = filepath.Join(cmp.Or(os.Getenv("ProgramData"), `C:\ProgramData`), "Farshore")
	defaultConfig = filepath.Join(dataDir, "agent.yaml")
	defaultState  = filepath.Join(dataDir, "agent")
	defaultRun    = filepath.Join(dataDir, "run")
	defaultPins   = ""
	defaultHooks  = filepath.Join(dataDir, "hooks")
)

// snapshots makes points of volume shadow copies, unless only image files are named: these have none.
func (c config) snapshots() disk.Snapshotter {
	drives := len(c.Disks) == 0
	for _, path := range c.Disks {
		_, ok := drive.Number(path)
		drives = drives || ok
	}
	if !drives {
		return nil
	}
	return &shadow.Snapshotter{System: drive.Local{}, Open: vss.New, Now: time.Now}
}

// checkPlaces has nothing to check: there is no memory file system, and what is pending carries the name of its boot.
func (c config) checkPlaces() error { return nil }
