package bench

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
)

// shares are two control groups: the agent's, with the weight that its systemd unit has, and the load's, with that of any other service.
type shares struct {
	load string // the file that a process of the load writes its number to; empty where there are no groups
	text string
}

const otherWeight = 100 // of a service whose unit says nothing

var unitWeight = regexp.MustCompile(`(?m)^CPUWeight=(\d+)$`)

// newShares moves this process, agent and sink, into the agent's group until the benchmark ends.
func newShares(b *testing.B) shares {
	b.Helper()
	unit, err := os.ReadFile("../../deploy/systemd/farshore-agent.service")
	if err != nil {
		b.Fatal(err)
	}
	weight, err := strconv.Atoi(string(unitWeight.FindSubmatch(unit)[1]))
	if err != nil {
		b.Fatal(err)
	}
	root, file, of100 := "/sys/fs/cgroup/cpu", "cpu.shares", 1024 // of version 1
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		root, file, of100 = "/sys/fs/cgroup", "cpu.weight", 100
	}
	top := filepath.Join(root, "farshore-bench-"+strconv.Itoa(os.Getpid()))
	agent, load := filepath.Join(top, "agent"), filepath.Join(top, "load")
	b.Cleanup(func() {
		err := enter(root)
		for _, g := range []string{agent, load, top} {
			if e := os.Remove(g); !errors.Is(e, fs.ErrNotExist) {
				err = errors.Join(err, e)
			}
		}
		if err != nil {
			b.Errorf("remove the control groups: %v", err)
		}
	})
	err = newGroup(top)
	for path, value := range map[string]int{agent: weight * of100 / otherWeight, load: of100} {
		if err == nil {
			err = errors.Join(newGroup(path), os.WriteFile(filepath.Join(path, file), []byte(strconv.Itoa(value)), 0))
		}
	}
	if err == nil {
		err = enter(agent)
	}
	if err != nil {
		return shares{text: fmt.Sprintf("SKIPPED: the unit's CPUWeight: %v; agent, sink and load count alike", err)}
	}
	return shares{filepath.Join(load, processes), fmt.Sprintf("agent and sink have a CPUWeight of %d, the load %d", weight, otherWeight)}
}

const processes = "cgroup.procs"

// newGroup makes a control group that any process may enter.
func newGroup(path string) error {
	if err := os.Mkdir(path, 0o755); err != nil {
		return err
	}
	err := os.WriteFile(filepath.Join(path, "cgroup.subtree_control"), []byte("+cpu"), 0)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		err = nil // version 1 hands controllers down by itself
	}
	return errors.Join(err, os.Chmod(filepath.Join(path, processes), 0o666))
}

func enter(group string) error {
	return os.WriteFile(filepath.Join(group, processes), []byte(strconv.Itoa(os.Getpid())), 0)
}

// command is one of the load.
func (a *agentBench) command(c *exec.Cmd) *exec.Cmd {
	if a.shares.load == "" {
		return c
	}
	c.Args = append([]string{"sh", "-c", `echo $$ >"$0" && exec "$@"`, a.shares.load, c.Path}, c.Args[1:]...)
	c.Path = "/bin/sh"
	return c
}
