package main

import (
	"cmp"
	"os"
	"path/filepath"
)

var (
	dataDir       = filepath.Join(cmp.Or(os.Getenv("ProgramData"), `C:\ProgramData`), "Farshore")
	defaultConfig = filepath.Join(dataDir, "agent.yaml")
	defaultState  = filepath.Join(dataDir, "agent")
	defaultRun    = filepath.Join(dataDir, "run")
	defaultPins   = ""
	defaultHooks  = filepath.Join(dataDir, "hooks")
)

// checkPlaces has nothing to check: there is no memory file system, and what is pending carries the name of its boot.
func (c config) checkPlaces() error { return nil }
