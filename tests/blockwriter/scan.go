package blockwriter

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// scanBytes is how much of a disk or ring is read at once.
const scanBytes = 1 << 20

// sight is what was found at one place.
type sight struct {
	run     int32 // index into view.runs, or one of the negative values below
	seq     uint64
	prev    uint64
	barrier uint64
}

const (
	sightNothing = -1 // no stamp: never written, or written by somebody else
	sightDamaged = -2 // a stamp that does not fit its block or its place
)

// view is everything that was found, before it is judged.
type view struct {
	areas [][]sight
	runs  []Stamp  // the instances seen; only the identity fields count
	last  []Stamp  // for each of runs the stamp with the highest sequence number
	temps []uint64 // dir mode: slots whose temporary file exists
	odd   []string // dir mode: files that have no business there
}

// see decodes one block and says what it is.
func (v *view) see(block []byte, area int, index uint64) sight {
	stamp, err := Decode(block)
	if errors.Is(err, errNoStamp) {
		return sight{run: sightNothing}
	}
	if err != nil || int(stamp.Area) != area || stamp.Index != index {
		return sight{run: sightDamaged}
	}
	return sight{run: v.runOf(stamp), seq: stamp.Seq, prev: stamp.Prev, barrier: stamp.Barrier}
}

// runOf finds or adds the instance of a stamp and keeps its highest stamp.
func (v *view) runOf(s Stamp) int32 {
	id := s
	id.Area, id.Seq, id.Index, id.Prev, id.Barrier = 0, 0, 0, 0, 0
	i := slices.Index(v.runs, id)
	if i < 0 {
		i = len(v.runs)
		v.runs, v.last = append(v.runs, id), append(v.last, s)
	}
	if s.Seq > v.last[i].Seq {
		v.last[i] = s
	}
	return int32(i)
}

// scanArea reads an area from its start to its end or to the end of the reader.
func (v *view) scanArea(r io.Reader, area int) error {
	buffer := make([]byte, scanBytes)
	var sights []sight
	for {
		n, err := io.ReadFull(r, buffer)
		for at := 0; at+BlockSize <= n; at += BlockSize {
			sights = append(sights, v.see(buffer[at:at+BlockSize], area, uint64(len(sights))))
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("read area %d: %w", area, err)
		}
	}
	v.areas = append(v.areas, sights)
	return nil
}

// scanDisks looks at the disks of raw mode.
func scanDisks(disks []*io.SectionReader) (*view, error) {
	v := &view{}
	for area, disk := range disks {
		if err := v.scanArea(io.NewSectionReader(disk, 0, disk.Size()), area); err != nil {
			return nil, err
		}
	}
	return v, nil
}

// scanInstance looks at one instance's directory.
func scanInstance(path string) (*view, error) {
	v := &view{}
	for area, name := range []string{AreaDirect: directRing, AreaBuffered: bufferedRing} {
		if err := v.scanRing(filepath.Join(path, name), area); err != nil {
			return nil, err
		}
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, fmt.Errorf("list the instance's directory: %w", err)
	}
	slots := slices.Repeat([]sight{{run: sightNothing}}, FileSlots)
	for _, entry := range entries {
		name := entry.Name()
		if name == directRing || name == bufferedRing {
			continue
		}
		slot, temp, ok := parseSlot(name)
		if !ok {
			v.odd = append(v.odd, name)
			continue
		}
		found, err := v.scanFile(filepath.Join(path, name), slot)
		if err != nil {
			return nil, err
		}
		if temp {
			v.temps = append(v.temps, slot)
			continue
		}
		if found.run == sightNothing {
			found.run = sightDamaged // a file that exists must have its content
		}
		slots[slot] = found
	}
	v.areas = append(v.areas, slots)
	return v, nil
}

func (v *view) scanRing(path string, area int) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		v.areas = append(v.areas, nil)
		return nil
	}
	if err != nil {
		return fmt.Errorf("open a ring: %w", err)
	}
	return errors.Join(v.scanArea(f, area), f.Close())
}

func (v *view) scanFile(path string, slot uint64) (sight, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return sight{}, fmt.Errorf("read a slot's file: %w", err)
	}
	if len(raw) != BlockSize {
		return sight{run: sightDamaged}, nil
	}
	return v.see(raw, AreaFiles, slot), nil
}

// parseSlot reads the name of a slot's file or of its temporary file.
func parseSlot(name string) (slot uint64, temp, ok bool) {
	base, temp := strings.CutSuffix(name, ".tmp")
	for slot := range uint64(FileSlots) {
		if base == slotName(slot) {
			return slot, temp, true
		}
	}
	return 0, temp, false
}
