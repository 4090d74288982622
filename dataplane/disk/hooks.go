package disk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"farshore/fault"
)

// Hooks are the administrator's executables in Dir/quiesce.d and Dir/resume.d. They put applications to rest before an
// application-consistent cut and let them go behind it.
type Hooks struct {
	Dir   string
	Limit time.Duration // for each executable
}

// maxHookOutput is how much of what a hook prints goes into the fault.
const maxHookOutput = 400

// Any reports whether there is a quiesce hook: without one no point can be more than crash-consistent.
func (h Hooks) Any() (bool, error) {
	found, err := h.list("quiesce.d")
	return len(found) > 0, err
}

// Quiesce runs the executables of quiesce.d in the order of their names and stops at the first that fails. Whatever it
// returns, [Hooks.Resume] must be called. The error is a *fault.Fault (FS-1003).
func (h Hooks) Quiesce(ctx context.Context) error {
	found, err := h.list("quiesce.d")
	if err != nil {
		return err
	}
	for _, path := range found {
		if err := h.run(ctx, path); err != nil {
			return err
		}
	}
	return nil
}

// Resume runs every executable of resume.d, last name first, also behind one that fails.
func (h Hooks) Resume(ctx context.Context) error {
	found, err := h.list("resume.d")
	for _, path := range slices.Backward(found) {
		err = errors.Join(err, h.run(ctx, path))
	}
	return err
}

// list names the hooks of a folder, in order. They run as the agent does, so nobody but root may be able to change them.
func (h Hooks) list(folder string) ([]string, error) {
	dir := filepath.Join(h.Dir, folder)
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) || h.Dir == "" {
		return nil, nil
	}
	if err != nil {
		return nil, badHook(dir, "the folder cannot be read", err)
	}
	var found []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			continue
		}
		path := filepath.Join(dir, e.Name())
		if what, err := trusted(path); what != "" {
			return nil, badHook(path, what, err)
		}
		found = append(found, path)
	}
	return found, nil
}

func badHook(path, what string, err error) *fault.Fault {
	return &fault.Fault{
		Code: "FS-1003", Kind: fault.Operator, Subject: "hook " + path, What: what,
		Remedy: "mend the hook; until then points are crash-consistent only", Err: err,
	}
}

func (h Hooks) run(ctx context.Context, path string) error {
	ctx, cancel := context.WithTimeout(ctx, h.Limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, path)
	together(cmd)
	cmd.WaitDelay = time.Second // a hook may leave a process behind that holds a lock, and the output with it
	out, err := cmd.CombinedOutput()
	if err == nil || errors.Is(err, exec.ErrWaitDelay) {
		return nil
	}
	text := strings.TrimSpace(string(out))
	if len(text) > maxHookOutput {
		text = text[:maxHookOutput] + "..."
	}
	if ctx.Err() != nil {
		return badHook(path, fmt.Sprintf("it was stopped, being slower than %v: %q", h.Limit, text), err)
	}
	return badHook(path, fmt.Sprintf("it did not succeed: %q", text), err)
}
