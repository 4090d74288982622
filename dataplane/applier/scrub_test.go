package applier

import (
	"os"
	"slices"
	"strings"
	"testing"

	"farshore"
	"farshore/dataplane/block"
	"farshore/dataplane/chain"
	"farshore/dataplane/host"
)

// pathOf is where the file vault of a world keeps an object.
func (w *world) pathOf(name string) string {
	w.t.Helper()
	disk := chain.ReplicaName(web, 1, "sda")
	d, err := w.vault.Replicas.Open(w.t.Context(), disk)
	if err != nil {
		w.t.Fatal(err)
	}
	defer d.Close()
	return strings.TrimSuffix(d.URL(), disk) + name
}

// flip turns a bit over in an object.
func (w *world) flip(name string, at int64) {
	w.t.Helper()
	path := w.pathOf(name)
	stored, err := os.ReadFile(path)
	if err != nil {
		w.t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte{stored[at] ^ 4}, at); err != nil {
		w.t.Fatal(err)
	}
}

// scrubbed has a running applier scrub the machine.
func (w *world) scrubbed(a *Applier, desired chan<- Desired, id string) Scrubbed {
	w.t.Helper()
	desired <- Desired{Machines: []farshore.MachineID{web}, Jobs: []Job{{ID: id, Kind: Scrub, Run: farshore.RunID(id), Machine: web}}}
	o := observed(w.t.(*testing.T), a, done(id))
	if o.Jobs[0].State != Done || o.Jobs[0].Scrubbed == nil {
		w.t.Fatalf("%+v", o.Jobs[0])
	}
	return *o.Jobs[0].Scrubbed
}

func TestAScrubFindsAFlippedBitInASegmentAndInTheReplica(t *testing.T) {
	s, r := fileVault(t)
	w := newWorld(t, 21, s, r)
	w.story(12)
	a := w.applier(s, r, eager)
	desired := run(t, a)
	desired <- Desired{Machines: []farshore.MachineID{web}}
	observed(t, a, func(o Observed) bool { return len(o.Replicas) == 1 && o.Replicas[0].Applied == w.tail() })
	good := w.scrubbed(a, desired, "v1")
	if len(good.Findings) != 0 || good.NotCompared != "" || good.Points != len(w.Order) || good.At != w.tail() || good.Figures.Compared == 0 || good.Figures.Different != 0 {
		t.Fatalf("a sound machine of %d points: %+v", len(w.Order), good)
	}

	written := slices.IndexFunc(w.Content["sda"], func(b byte) bool { return b != 0 }) // data, and no free space
	sector := int64(written / block.SectorSize)
	w.flip(chain.ReplicaName(web, 1, "sda"), sector*block.SectorSize+17)
	found := w.scrubbed(a, desired, "v2")
	if len(found.Findings) != 1 || found.Figures.Different != block.SectorSize {
		t.Fatalf("a flip in the replica: %+v", found)
	}
	f := found.Findings[0]
	if f.Kind != InReplica || f.Code != "FS-4006" || f.Disk != "sda" || f.Offset != sector*block.SectorSize || f.Bytes != block.SectorSize || f.Object != chain.ReplicaName(web, 1, "sda") {
		t.Errorf("a flip in the replica: %+v", f)
	}

	damaged := w.Order[1]
	body, err := s.Get(t.Context(), chain.NameOf(web, damaged))
	if err != nil {
		t.Fatal(err)
	}
	w.flip(chain.NameOf(web, damaged), int64(len(body)/2)) // in a frame
	found = w.scrubbed(a, desired, "v3")
	f = found.Findings[0]
	if f.Kind != InJournal || f.Object != chain.NameOf(web, damaged) || f.Code != "FS-3510" || f.Disk == "" || f.Bytes == 0 || !slices.Equal(f.Lost, w.Order[1:]) {
		t.Errorf("a flip in a segment: %+v", f)
	}
	if found.Points != 1 || !strings.Contains(found.NotCompared, chain.NameOf(web, damaged)) {
		t.Errorf("the rest: %+v", found)
	}
	w.wantSwept(a, desired)
}

// wantSwept wants that snapshots of scrubs are gone when the replica has moved on.
func (w *world) wantSwept(a *Applier, desired chan<- Desired) {
	w.t.Helper()
	desired <- Desired{Machines: []farshore.MachineID{web}}
	for _, id := range []farshore.DiskID{"sda", "sdb"} {
		for left := 1; left > 0; {
			positions, err := checkpoints(w.t.Context(), w.vault.Store, web, 1)
			if err != nil {
				w.t.Fatal(err)
			}
			d, err := w.vault.Replicas.Open(w.t.Context(), chain.ReplicaName(web, 1, id))
			if err != nil {
				w.t.Fatal(err)
			}
			there, err := d.Snapshots(w.t.Context())
			if err != nil {
				w.t.Fatal(err)
			}
			d.Close()
			left = len(there) - len(positions)
			if left > 0 && host.Pause(w.t.Context(), a.deps.Poll) != nil {
				w.t.Fatalf("disk %s has %d snapshots for %d checkpoints", id, len(there), len(positions))
			}
		}
	}
}
