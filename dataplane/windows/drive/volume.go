package drive

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
)

// Volume is a volume with a place on a drive of interest.
type Volume struct {
	Name   string // \\?\Volume{GUID}\
	Places []Place
}

// Simple reports whether the volume is one piece of one drive, as all but spanned, striped and mirrored volumes are.
func (v Volume) Simple() bool { return len(v.Places) == 1 }

// On lists the volumes that lie on any of the drives, in the order of their places. What cannot be opened or lies on no
// drive, such as an optical disc, is left out.
func On(s System, drives ...uint32) ([]Volume, error) {
	names, err := s.Volumes()
	if err != nil {
		return nil, fmt.Errorf("list the volumes: %w", err)
	}
	var found []Volume
	for _, name := range names {
		places, err := Places(s, name)
		if err != nil {
			continue
		}
		if slices.ContainsFunc(places, func(p Place) bool { return slices.Contains(drives, p.Drive) }) {
			found = append(found, Volume{Name: name, Places: places})
		}
	}
	slices.SortFunc(found, func(a, b Volume) int {
		return cmp.Or(cmp.Compare(a.Places[0].Drive, b.Places[0].Drive), cmp.Compare(a.Places[0].Offset, b.Places[0].Offset))
	})
	return found, nil
}

// Places asks where a volume lies.
func Places(s System, name string) (places []Place, err error) {
	h, err := s.Volume(name)
	if err != nil {
		return nil, fmt.Errorf("open the volume %s: %w", name, err)
	}
	defer func() { err = errors.Join(err, h.Close()) }()
	answer, err := ask(h, volumeExtents, nil, 256, 0)
	if err != nil {
		return nil, fmt.Errorf("ask where the volume %s lies: %w", name, err)
	}
	return parsePlaces(answer)
}

// OpenWhole opens a volume, or a shadow copy of one, so that its last sectors can be read too: NTFS keeps a copy of its
// first sector behind the end of the file system.
func OpenWhole(s System, name string) (Handle, error) {
	h, err := s.Volume(name)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	if _, err := h.Control(allowAllOfVolume, nil, nil); err != nil {
		return nil, errors.Join(fmt.Errorf("open %s to its end: %w", name, err), h.Close())
	}
	return h, nil
}
