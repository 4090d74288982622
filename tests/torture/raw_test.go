package torture

import (
	"context"
	"path/filepath"
	"testing"

	"farshore/tests/blockwriter"
	"farshore/tests/lab/site"
)

// rawRate is how many writes the blockwriter makes in a second: below capture, a point of disks without a file system needs a
// moment without one.
const rawRate = 40

// rawWriter is the blockwriter on all disks of a raw cell, one order over them.
type rawWriter struct {
	*blockwriter.Writer
	log string
}

func startRaw(t *testing.T, volumes []*volume) *rawWriter {
	t.Helper()
	var devices []string
	for _, v := range volumes {
		devices = append(devices, v.loop.Path)
	}
	w := &rawWriter{log: filepath.Join(t.TempDir(), "writer.log")}
	var err error
	w.Writer, err = blockwriter.New(blockwriter.Options{Devices: devices, Log: w.log, Rate: rawRate})
	if err != nil {
		t.Fatal(err)
	}
	site.Background(t, "the blockwriter", w.Run)
	return w
}

// loadRaw lets the blockwriter write while points are made, and then holds it.
func (r *run) loadRaw(n int) {
	r.t.Helper()
	if n == 0 {
		r.raw = startRaw(r.t, r.volumes)
		r.startAgent()
	} else if err := r.raw.Resume(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
	r.awaitPoints()
	ctx, cancel := context.WithTimeout(r.t.Context(), endPatience)
	defer cancel()
	if err := r.raw.Hold(ctx); err != nil {
		r.t.Fatal(err)
	}
}

// judgeRaw says whether restored disks hold exactly what a power cut could have left.
func (r *run) judgeRaw(paths []string) {
	r.t.Helper()
	report, err := blockwriter.VerifyDevicePaths(paths, blockwriter.Question{})
	if err != nil {
		r.t.Fatal(err)
	}
	if !report.OK || report.Torn && r.tally.grade != captureGrade {
		r.tally.disordered++
		r.t.Errorf("the disks are no state that the writer left: %+v", report)
	}
}
