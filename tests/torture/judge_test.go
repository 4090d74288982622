package torture

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"farshore"
	"farshore/dataplane/block"
	"farshore/dataplane/chain"
	"farshore/dataplane/disk"
	"farshore/dataplane/disk/disktest"
	"farshore/dataplane/segment"
	"farshore/tests/lab/need"
)

// judge replays the stream forward, to images of the disks, and judges every point on the way.
type judge struct {
	*run
	probe       *probe // of the round under judgement
	fresh       bool   // it began with new file systems
	at          chain.Link
	images      []*os.File
	unspecified []block.Set // what the stream says nothing about
	foreign     int         // the point that farshore-restore restores as well
	dice        *rand.Rand  // of its own: how many points there are must not change the choices of the rounds
}

func newJudge(r *run) *judge {
	r.t.Helper()
	j := &judge{run: r, at: r.site.Reader().Start(machine, 1), unspecified: make([]block.Set, len(r.volumes)), dice: rand.New(rand.NewPCG(r.rng.Uint64(), 0))}
	j.foreign = 1 + j.dice.IntN(r.tally.points)
	dir := disktest.Dir(r.t)
	for _, v := range r.volumes {
		image, err := os.Create(filepath.Join(dir, string(v.id)))
		if err == nil {
			err = image.Truncate(v.bytes)
		}
		if err != nil {
			r.t.Fatal(err)
		}
		r.t.Cleanup(func() { image.Close() })
		j.images = append(j.images, image)
	}
	return j
}

// forward replays to a position. Every clean end on the way is a point that was offered, and is restored with it.
func (j *judge) forward(to farshore.Position) {
	j.t.Helper()
	j.tally.offered += j.count(to)
	for s, err := range j.site.Reader().Follow(j.t.Context(), j.at) {
		if err != nil {
			j.t.Fatalf("replay behind %v: %v", j.at.Position, err)
		}
		for record, err := range s.Records() {
			if err != nil {
				j.t.Fatalf("replay %v: %v", s.Header().Position(), err)
			}
			j.apply(record)
		}
		h := s.Header()
		j.at = chain.LinkOf(h, s.Hash())
		if h.Clean() && !h.Seal {
			j.tally.restored++
			if !h.Copy {
				j.tally.ordered++
			}
			j.point(h)
		}
		if h.Position() == to {
			return
		}
	}
	j.t.Fatalf("the stream ends at %v, in front of %v", j.at.Position, to)
}

// count gives how many points the vault offers from here to a position, by the listing that people choose from.
func (j *judge) count(to farshore.Position) (n int) {
	j.t.Helper()
	points, err := j.site.Reader().Points(j.t.Context(), machine)
	if err != nil {
		j.t.Fatal(err)
	}
	for _, p := range points {
		if p.Position.Compare(j.at.Position) > 0 && p.Position.Compare(to) <= 0 {
			n++
		}
	}
	return n
}

func (j *judge) apply(r segment.Record) {
	j.t.Helper()
	image, set := j.images[r.Disk], &j.unspecified[r.Disk]
	var err error
	switch r.Kind {
	case block.Data:
		set.Remove(r.Extent)
		_, err = image.WriteAt(r.Data, r.Extent.Start.Offset())
	case block.Zero:
		set.Remove(r.Extent)
		err = punch(image, r.Extent)
	case block.Unspecified:
		set.Add(r.Extent)
		err = punch(image, r.Extent)
	}
	if err != nil {
		j.t.Fatalf("apply %v: %v", r.Extent, err)
	}
}

func punch(image *os.File, e block.Extent) error {
	return unix.Fallocate(int(image.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, e.Start.Offset(), e.Count.Bytes())
}

// point judges the images as they are now.
func (j *judge) point(h segment.Header) {
	j.t.Helper()
	whole := j.tally.kind != raw
	if j.tally.kind == raw {
		j.judgeRaw(j.paths())
	} else if numbers, err := j.probe.judge(j.images); err != nil {
		j.tally.disordered++
		j.t.Errorf("point %v: the order of writes is broken: %v (%v)", h.Position(), err, numbers)
	} else if j.fresh && slices.Contains(numbers, -1) { // in write order there are points in the middle of a mkfs
		whole = false
	}
	if whole && j.dice.IntN(j.tally.sample) == 0 {
		j.tally.examined++
		for i, v := range j.volumes {
			if err := j.examine(v.kind, j.images[i].Name()); err != nil {
				j.tally.unsound++
				j.t.Errorf("point %v, %s on %s: %v", h.Position(), v.kind, v.id, err)
			}
		}
	}
	if j.tally.restored == j.foreign {
		j.restore(h.Position())
	}
}

func (j *judge) paths() []string {
	var paths []string
	for _, i := range j.images {
		paths = append(paths, i.Name())
	}
	return paths
}

// examine mounts a copy, as a recovered machine would, and has its file system checked afterwards.
func (j *judge) examine(kind, image string) (err error) {
	dir := disktest.Dir(j.t)
	copied, mnt := filepath.Join(dir, "copy.img"), filepath.Join(dir, "mnt")
	defer func() {
		if rerr := os.RemoveAll(dir); err == nil {
			err = rerr
		}
	}()
	ctx := j.t.Context()
	if _, err := need.Run(ctx, "cp", "--sparse=always", image, copied); err != nil {
		return err
	}
	loop, err := disk.AttachLoop(copied)
	if err != nil {
		return err
	}
	defer func() {
		if derr := loop.Detach(); err == nil {
			err = derr
		}
	}()
	if err := os.Mkdir(mnt, 0o755); err != nil {
		return err
	}
	if kind == "btrfs" { // the kernel knows the newer original and refuses an older copy
		if _, err := need.Run(ctx, "btrfs", "device", "scan", "--forget"); err != nil {
			return err
		}
	}
	if err := unix.Mount(loop.Path, mnt, kind, 0, mountOptions[kind]); err != nil {
		return fmt.Errorf("mount it: %w", err)
	}
	if err := unix.Unmount(mnt, 0); err != nil {
		return fmt.Errorf("unmount it: %w", err)
	}
	checker := checkers[kind]
	out, err := exec.CommandContext(ctx, checker[0], append(checker[1:len(checker):len(checker)], loop.Path)...).CombinedOutput()
	if err != nil && !bytes.Contains(out, []byte("could be narrower")) { // wasteful, not damaged
		return fmt.Errorf("%v: %w\n%s", checker, err, out)
	}
	return nil
}

// compare gives the number of 4 KiB blocks in which a restored disk differs from the disk. What the stream says nothing about
// is left out.
func (j *judge) compare() (blocks int) {
	j.t.Helper()
	for i, v := range j.volumes {
		n, first, err := differences(v.device, j.images[i], &j.unspecified[i], v.bytes)
		if err != nil {
			j.t.Fatal(err)
		}
		if n > 0 {
			j.t.Errorf("%s differs from the last point in %d blocks, first at %v", v.id, n, first)
		}
		blocks += n
	}
	return blocks
}

func differences(a, b io.ReaderAt, without *block.Set, size int64) (blocks int, first []int64, err error) {
	const piece, most = 4096, 8
	x, y := disk.Buffer(1<<20), disk.Buffer(1<<20)
	for at := int64(0); at < size; at += int64(len(x)) {
		n := min(int64(len(x)), size-at)
		for _, side := range []struct {
			from io.ReaderAt
			to   []byte
		}{{a, x[:n]}, {b, y[:n]}} {
			if m, err := side.from.ReadAt(side.to, at); int64(m) < n {
				return 0, nil, fmt.Errorf("compare at %d: %w", at, err)
			}
			chunk := block.Extent{Start: block.Sector(at / block.SectorSize), Count: block.Count(n / block.SectorSize)}
			for e := range without.Within(chunk) {
				clear(side.to[e.Start.Offset()-at : e.End().Offset()-at])
			}
		}
		for i := int64(0); i < n; i += piece {
			if !bytes.Equal(x[i:i+piece], y[i:i+piece]) {
				if blocks++; len(first) < most {
					first = append(first, at+i)
				}
			}
		}
	}
	return blocks, first, nil
}

// restore has farshore-restore, which knows the vault and its key and nothing else, restore the point too.
func (j *judge) restore(p farshore.Position) {
	j.t.Helper()
	out := filepath.Join(disktest.Dir(j.t), "restored")
	_, err := need.Run(j.t.Context(), program(j.t, "farshore-restore"), "write", string(machine), "--at", p.String(), "--to", "raw", "--out", out, "--yes",
		"--vault-path", j.site.Vault, "--key", j.site.KeyFile)
	if err != nil {
		j.t.Fatalf("farshore-restore write --at %v: %v", p, err)
	}
	for i, v := range j.volumes {
		restored, err := os.Open(filepath.Join(out, string(v.id)+".raw"))
		if err != nil {
			j.t.Fatal(err)
		}
		n, first, err := disktest.Differences(restored, j.images[i], v.bytes)
		restored.Close()
		if err != nil || n > 0 {
			j.t.Errorf("farshore-restore and the replay of point %v differ in %d blocks of %s, first at %v: %v", p, n, v.id, first, err)
		}
	}
}
