package agent

import (
	"errors"
	"io/fs"
	"log/slog"
	"path/filepath"
	"slices"

	"farshore/dataplane/disk"
)

// namesFile keeps what the disks are called. An image of the machine carries it along, so that its disks keep their names.
const namesFile = "disks.json"

// Names reads what the disks of the machine are called, as an agent whose state is in dir has noted it. Names that cannot be
// read are told and forgotten: without them a disk has at worst another name in another body, and is copied whole.
func Names(dir string, log *slog.Logger) *disk.Names {
	names := new(disk.Names)
	err := readJSON(filepath.Join(dir, namesFile), names)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		log.Warn("the names of the disks could not be read", "err", err)
	}
	if err != nil || names.Version > disk.NamesVersion {
		return new(disk.Names)
	}
	return names
}

// inventory opens the disks and names them, and notes the names down before anything is sent under them.
func (a *Agent) inventory() (*disk.Inventory, error) {
	sources, err := a.deps.Sources()
	if err != nil {
		return nil, err
	}
	names := Names(a.deps.StateDir, a.deps.Log)
	before := disk.Names{Version: names.Version, Body: names.Body, Disks: slices.Clone(names.Disks)}
	inventory, err := disk.Take(a.deps.Machine, sources, a.deps.Body, names)
	if err != nil {
		return nil, err
	}
	if before.Body != names.Body || !slices.Equal(before.Disks, names.Disks) {
		if err := writeJSON(filepath.Join(a.deps.StateDir, namesFile), names); err != nil {
			return nil, errors.Join(err, inventory.Close())
		}
	}
	return inventory, nil
}
