package kernel

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"farshore/tests/lab/qemu"
)

// readEvery is how often the report is looked at.
const readEvery = 100 * time.Millisecond

// Machine says what to boot.
type Machine struct {
	Kernel    *Kernel
	Initrd    string // made by [Pack]
	Disks     []qemu.Disk
	MemoryMiB int
	Append    string // more of the kernel's command line
	Network   qemu.Network
	Dir       string // for logs
}

// Guest is a machine that was booted.
type Guest struct {
	VM      *qemu.VM
	report  string
	console string
	read    int  // how much of the report was given out
	ended   bool // the job's end was among it
}

// Report is one line that a guest reported. Those of the guest's own beginning and end have an Action; all others are the
// job's.
type Report struct {
	Action string          // "booted", "ended", or the job's
	Kernel string          // booted: as the kernel calls itself
	Uptime float64         // booted, ended: seconds since the kernel began
	Code   int             // ended: the job's exit code
	Raw    json.RawMessage `json:"-"` // the whole line
}

// Boot powers a guest on. Stop must be called in the end.
func Boot(ctx context.Context, m Machine) (*Guest, error) {
	g := &Guest{report: filepath.Join(m.Dir, "report"), console: filepath.Join(m.Dir, "console")}
	vm, err := qemu.Boot(ctx, qemu.Machine{
		Arch: m.Kernel.Release.Arch, Disks: m.Disks, MemoryMiB: m.MemoryMiB, CPUs: 2, Network: m.Network,
		SerialLog: g.console, ReportLog: g.report,
		// loglevel: only what is wrong; mitigations: an emulator leaks nothing and pays for each.
		Direct: &qemu.Direct{Kernel: m.Kernel.Image, Initrd: m.Initrd, Append: "panic=-1 loglevel=4 mitigations=off " + m.Append},
	})
	if err != nil {
		return nil, err
	}
	g.VM = vm
	return g, nil
}

// Stop cuts the power. Calling it again does nothing.
func (g *Guest) Stop() { g.VM.Stop() }

// Reports gives each line that the guest reports to take, until take gives false, the guest is off, or ctx ends. A guest
// that is off before it said that its job ended is an error which shows the console. A further call goes on where the one
// before ended.
func (g *Guest) Reports(ctx context.Context, take func(Report) bool) error {
	tick := time.NewTicker(readEvery)
	defer tick.Stop()
	for {
		running := g.VM.Running() // asked before reading: what it reported last is not missed
		raw, err := os.ReadFile(g.report)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("read the guest's report: %w", err)
		}
		for {
			line, _, whole := bytes.Cut(raw[min(g.read, len(raw)):], []byte("\n"))
			if !whole {
				break
			}
			g.read += len(line) + 1
			r := parseReport(line)
			g.ended = g.ended || r.Action == "ended"
			if !take(r) {
				return nil
			}
		}
		switch {
		case !running && g.ended:
			return nil
		case !running:
			return fmt.Errorf("the guest went off before its job ended; the console ends with:\n%s", g.Console())
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the guest's job: %w; the console ends with:\n%s", ctx.Err(), g.Console())
		case <-tick.C:
		}
	}
}

// parseReport takes a line that is no JSON as one of the job's own words.
func parseReport(line []byte) Report {
	var r Report
	if err := json.Unmarshal(line, &r); err != nil {
		r = Report{Action: "said"}
	}
	r.Raw = bytes.TrimSpace(line)
	return r
}

// quotedBytes is how much of the console is shown.
const quotedBytes = 4000

// Console gives the end of what the console shows, and what QEMU says.
func (g *Guest) Console() string {
	text := ""
	for _, path := range []string{g.console, g.console + ".qemu"} {
		raw, err := os.ReadFile(path)
		if err != nil {
			return err.Error()
		}
		text += string(raw[max(0, len(raw)-quotedBytes):])
	}
	return text
}
