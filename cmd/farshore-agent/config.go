package main

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/goccy/go-yaml"
	"golang.org/x/sys/unix"

	"farshore/dataplane/disk"
	"farshore/fault"
)

// config is the configuration file of an agent.
type config struct {
	Control string   `yaml:"control"` // host:port of the configuration server
	State   string   `yaml:"state"`   // folder of identity, desired document and counters
	Run     string   `yaml:"run"`     // folder on a memory file system: what is pending
	Pins    string   `yaml:"pins"`    // folder on a bpf file system: the tracker
	Hooks   string   `yaml:"hooks"`   // folder with quiesce.d and resume.d
	Disks   []string `yaml:"disks"`   // devices or image files; none: every physical disk. The first is the boot disk
	// HookSeconds bounds each hook, FreezeSeconds each freeze, WindowMiB the memory for one recovery point.
	HookSeconds   int `yaml:"hookSeconds"`
	FreezeSeconds int `yaml:"freezeSeconds"`
	WindowMiB     int `yaml:"windowMiB"`
}

const (
	defaultState  = "/var/lib/farshore/agent"
	defaultRun    = "/run/farshore/agent"
	defaultPins   = "/sys/fs/bpf/farshore"
	defaultHooks  = "/etc/farshore/hooks"
	defaultHook   = 60
	defaultFreeze = 10
	defaultWindow = 64
	maxSeconds    = 600
	maxWindow     = 4096
)

// loadConfig reads the file; whatever it does not know is refused. The error is a *fault.Fault FS-1101.
func loadConfig(path string) (config, error) {
	c := config{
		State: defaultState, Run: defaultRun, Pins: defaultPins, Hooks: defaultHooks,
		HookSeconds: defaultHook, FreezeSeconds: defaultFreeze, WindowMiB: defaultWindow,
	}
	content, err := os.ReadFile(path)
	if err == nil {
		err = yaml.UnmarshalWithOptions(content, &c, yaml.Strict())
	}
	if err != nil {
		return config{}, badConfig(path, "it cannot be read", err)
	}
	switch {
	case c.Control == "":
		return config{}, badConfig(path, "control is missing: HOST:PORT of the configuration server", nil)
	case c.HookSeconds < 1 || c.HookSeconds > maxSeconds || c.FreezeSeconds < 1 || c.FreezeSeconds > maxSeconds:
		return config{}, badConfig(path, fmt.Sprintf("hookSeconds is %d and freezeSeconds %d, want 1 to %d", c.HookSeconds, c.FreezeSeconds, maxSeconds), nil)
	case c.WindowMiB < 1 || c.WindowMiB > maxWindow:
		return config{}, badConfig(path, fmt.Sprintf("windowMiB is %d, want 1 to %d", c.WindowMiB, maxWindow), nil)
	}
	return c, nil
}

func badConfig(path, what string, err error) error {
	return &fault.Fault{
		Code: "FS-1101", Kind: fault.Operator, Subject: "configuration " + path, What: what,
		Remedy: "correct the file; every key is explained in docs/operate/agent.md", Err: err,
	}
}

// sources gives the disks that the configuration names, or else all of the machine.
func (c config) sources() ([]disk.Source, error) {
	if len(c.Disks) == 0 {
		return disk.Find()
	}
	var named []disk.Source
	for i, path := range c.Disks {
		named = append(named, disk.Source{Path: path, Boot: i == 0})
	}
	return named, nil
}

// prepare makes the folders and checks that what must not touch a disk does not.
func (c config) prepare() error {
	if err := os.MkdirAll(c.Run, 0o700); err != nil {
		return badPlace("run", c.Run, "it cannot be made", err)
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(c.Run, &fs); err != nil || fs.Type != unix.TMPFS_MAGIC && fs.Type != unix.RAMFS_MAGIC {
		return badPlace("run", c.Run, "it is not on a memory file system: what is pending must not cause writes to a protected disk, nor outlive a reboot", err)
	}
	return c.mountPins()
}

// mountPins makes sure that there is a bpf file system below the folder of pins. Without one the disks are scanned.
func (c config) mountPins() error {
	root := filepath.Dir(c.Pins)
	var fs unix.Statfs_t
	if err := unix.Statfs(root, &fs); err != nil || os.Geteuid() != 0 {
		return nil // the tracker says why it cannot use it
	}
	if fs.Type == unix.BPF_FS_MAGIC {
		return nil
	}
	if err := unix.Mount("bpf", root, "bpf", 0, ""); err != nil {
		return badPlace("pins", c.Pins, "there is no bpf file system at "+root+" and none can be mounted", err)
	}
	return nil
}

func badPlace(key, path, what string, err error) error {
	return &fault.Fault{
		Code: "FS-1102", Kind: fault.Operator, Subject: fmt.Sprintf("folder %s (%s)", path, key), What: what,
		Remedy: "choose another folder in the configuration file; see docs/operate/agent.md", Err: err,
	}
}

func (c config) hooks() disk.Hooks {
	return disk.Hooks{Dir: c.Hooks, Limit: time.Duration(c.HookSeconds) * time.Second}
}
