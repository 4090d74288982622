package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"farshore/tests/blockwriter"
	"farshore/tests/lab/process"
)

// writing is the blockwriter at work on a source, with its log and its state file beside the source, never on it.
type writing struct {
	program string
	dir     string
	process *process.Process
}

func (w *writing) log() string   { return filepath.Join(w.dir, "writer.log") }
func (w *writing) state() string { return filepath.Join(w.dir, "writer.state") }

// start runs the writer and waits for its first acknowledged write.
func (w *writing) start(ctx context.Context, args ...string) error {
	var err error
	w.process, err = process.Start(ctx, process.Spec{
		Name: "writer", LogPath: filepath.Join(w.dir, "writer.out"),
		Command: append([]string{w.program, "write", "--log", w.log(), "--state", w.state()}, args...),
		Ready: func(context.Context) error {
			runs, err := blockwriter.ReadLog(w.log())
			if err == nil && (len(runs) == 0 || len(runs[0].Acks) == 0) {
				err = errors.New("it has written nothing yet")
			}
			return err
		},
	})
	return err
}

// KillWriter implements source.
func (w *writing) KillWriter() { w.process.Kill() }

// Stop implements source.
func (w *writing) Stop() {
	if w.process != nil {
		w.process.Kill()
	}
}

// Loss implements source.
func (w *writing) Loss(r blockwriter.Report) (lost uint64, age time.Duration, err error) {
	runs, err := blockwriter.ReadLog(w.log())
	if err != nil {
		return 0, 0, err
	}
	for _, run := range runs {
		if fmt.Sprintf("%016x", run.Instance) != r.Instance {
			continue
		}
		last, acked := run.AckedBy(time.Time{})
		if !acked || last.Seq <= r.LastSeq {
			return 0, 0, nil
		}
		present := run.Acks[0]
		for _, ack := range run.Acks {
			if ack.Seq <= r.LastSeq {
				present = ack
			}
		}
		return last.Seq - r.LastSeq, last.Time.Sub(present.Time), nil
	}
	return 0, 0, fmt.Errorf("the recovered disk was written by instance %s, which %s does not know", r.Instance, w.log())
}

const hookScript = `#!/bin/sh
set -e
kill -%s %d
for i in $(seq 200); do
  grep -q '"state": *"%s"' %s && exit 0
  sleep 0.05
done
exit 1
`

// hook writes an executable that signals the writer and waits until its state file says that it has obeyed.
func (w *writing) hook(path, signal, state string) error {
	script := fmt.Sprintf(hookScript, signal, w.process.PID(), state, w.state())
	if err := os.WriteFile(path, []byte(script), 0o755); err != nil {
		return fmt.Errorf("write a quiesce hook: %w", err)
	}
	return nil
}
