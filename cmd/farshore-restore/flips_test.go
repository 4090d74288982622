package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"farshore"
	"farshore/dataplane/chain"
	"farshore/dataplane/journal"
	"farshore/dataplane/scrub"
	"farshore/tests/flips"
)

// flipped is a vault of which one object at a time is damaged.
type flipped struct {
	*world
	at    string // path of the object
	out   string // where points are restored to
	reads int
}

// A bit that turns over in any object of a vault is reported by verify, with the object and the points that it costs; and what
// is restored all the same is exactly what the disks were.
func TestNoFlippedBitInAVaultGoesUnnoticed(t *testing.T) {
	w := newWorld(t)
	for n := range 2 {
		spec := farshore.MachineSpec{ID: web, Hostname: fmt.Sprintf("web-%d", n), OS: "linux", Disks: []farshore.DiskSpec{{ID: "sda", SizeBytes: uint64(diskSectors.Bytes()), Boot: true}}}
		if err := journal.PutSpec(t.Context(), w.deps, spec); err != nil {
			t.Fatal(err)
		}
	}
	w.history()
	w.fenceAndRelease()
	w.claim(3)
	w.write(true, change{"sda", 9, 1, 0, 7})
	f := &flipped{world: w, out: filepath.Join(t.TempDir(), "out")}
	for _, path := range w.objects() {
		name := w.nameOf(path)
		stored, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		f.at = path
		o := flips.Object{Kind: kindOf(name), Stored: stored, Read: f.read}
		if strings.HasPrefix(name, "journal/") {
			o.Tells = func(err error, bit int) bool { return f.tells(err, name, bit/8) }
		}
		t.Run(name, func(t *testing.T) { flips.Try(t, o) })
		if err := os.WriteFile(path, stored, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// fenceAndRelease fails the machine over and takes that back: claims without segments.
func (w *world) fenceAndRelease() {
	w.t.Helper()
	d := w.deps
	d.Signer = w.ca.Node(w.t, farshore.RoleControl, "control")
	if _, err := journal.Fence(w.t.Context(), d, web); err != nil {
		w.t.Fatal(err)
	}
	if err := journal.Unfence(w.t.Context(), d, web); err != nil {
		w.t.Fatal(err)
	}
}

// objects lists the files of all objects of the vault.
func (w *world) objects() []string {
	w.t.Helper()
	var paths []string
	for _, container := range []string{"points", "journal"} {
		err := filepath.WalkDir(filepath.Join(w.dir, container), func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				paths = append(paths, path)
			}
			return err
		})
		if err != nil {
			w.t.Fatal(err)
		}
	}
	return paths
}

func (w *world) nameOf(path string) string { return strings.TrimPrefix(path, w.dir+"/") }

// kindOf names what an object is.
func kindOf(name string) string {
	switch {
	case strings.HasSuffix(name, ".fsj"):
		return "segment or seal"
	case strings.Contains(name, "spec-"):
		return "machine spec"
	case strings.HasSuffix(name, "vault.json"):
		return "vault.json"
	}
	return "claim"
}

// finding is what verify says of damage.
type finding struct {
	verified
	code int
	said string
}

// Error gives all of it.
func (r *finding) Error() string { return fmt.Sprintf("exit %d: %s", r.code, r.said) }

// read puts the bytes in the object's place and has the machine verified. One time in eight the newest point that is still
// offered is restored too.
func (f *flipped) read(stored []byte) error {
	if err := os.WriteFile(f.at, stored, 0o600); err != nil {
		return err
	}
	var r finding
	var out string
	r.code, out, r.said = f.run("verify", string(web), "-o", "json")
	if out != "" {
		if err := json.Unmarshal([]byte(out), &r.verified); err != nil {
			return fmt.Errorf("%w: %w", flips.ErrWrong, err)
		}
	}
	if f.reads++; f.reads%8 == 0 {
		if err := f.restoreNewest(); err != nil {
			return err
		}
	}
	if r.code == 0 {
		return nil
	}
	return &r
}

// restoreNewest restores what is offered as the newest point, if anything is.
func (f *flipped) restoreNewest() error {
	code, out, _ := f.run("write", string(web), "--out", f.out, "--yes", "-o", "json")
	if code != 0 {
		return nil
	}
	var plan writePlan
	if err := json.Unmarshal([]byte(out), &plan); err != nil {
		return fmt.Errorf("%w: %w", flips.ErrWrong, err)
	}
	want, known := f.points[plan.Point.Position]
	if !known {
		return fmt.Errorf("%w: %v was never a point", flips.ErrWrong, plan.Point.Position)
	}
	for id, content := range want {
		got, err := os.ReadFile(filepath.Join(f.out, string(id)+".raw"))
		if err != nil || !slices.Equal(got, content) {
			return fmt.Errorf("%w: disk %s of %v: %w", flips.ErrWrong, id, plan.Point.Position, errors.Join(err))
		}
	}
	return nil
}

// tells says whether a report names the segment, a part of it that the bit is in, and every point that is lost by it, and no other.
// A header that is lost cannot say any more whether there was a point.
func (f *flipped) tells(err error, name string, at int) bool {
	var r *finding
	if !errors.As(err, &r) || len(r.Generations) != 1 || r.Generations[0].Damage == nil {
		return false
	}
	d := r.Generations[0].Damage
	good := 0
	for _, p := range f.order {
		if strings.Compare(chain.NameOf(web, p), name) < 0 {
			good++
		}
	}
	gone := slices.Concat(d.Unclear, d.Lost)
	slices.SortFunc(gone, farshore.Position.Compare)
	gone = slices.DeleteFunc(gone, func(p farshore.Position) bool {
		return slices.Contains(d.Unclear, p) && !slices.Contains(f.order, p) && chain.NameOf(web, p) == name
	})
	inside := slices.ContainsFunc(d.Hits, func(h scrub.Part) bool { // a frame's line of the index lies behind all frames
		return h.Offset <= int64(at) && (int64(at) < h.Offset+h.Bytes || strings.HasPrefix(h.Part, "frame") || h.Part == "index")
	})
	return d.Segment == name && r.Generations[0].Points == good && slices.Equal(gone, f.order[good:]) && inside
}
