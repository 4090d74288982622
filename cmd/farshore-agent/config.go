package main

import (
	"fmt"
	"os"
	"time"

	"github.com/goccy/go-yaml"

	"farshore/dataplane/disk"
	"farshore/dataplane/host"
	"farshore/fault"
)

// config is the configuration file of an agent.
type config struct {
	Control string   `yaml:"control"` // host:port of the configuration server
	State   string   `yaml:"state"`   // folder of identity, desired document and counters
	Run     string   `yaml:"run"`     // folder of what is pending; on Linux on a memory file system
	Pins    string   `yaml:"pins"`    // folder on a bpf file system: the tracker
	Hooks   string   `yaml:"hooks"`   // folder with quiesce.d and resume.d
	Disks   []string `yaml:"disks"`   // devices or image files; none: every physical disk. The first is the boot disk
	// HookSeconds bounds each hook, FreezeSeconds each freeze, WindowMiB the memory for one recovery point.
	HookSeconds   int `yaml:"hookSeconds"`
	FreezeSeconds int `yaml:"freezeSeconds"`
	WindowMiB     int `yaml:"windowMiB"`
	// CopyMiBPerSecond bounds full copies; 0 does not.
	CopyMiBPerSecond int `yaml:"copyMiBPerSecond"`
}

const (
	defaultHook   = 60
	defaultFreeze = 10
	defaultWindow = 64
	maxSeconds    = 600
	maxWindow     = 4096
	maxCopyRate   = 1 << 20
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
	case c.CopyMiBPerSecond < 0 || c.CopyMiBPerSecond > maxCopyRate:
		return config{}, badConfig(path, fmt.Sprintf("copyMiBPerSecond is %d, want 0 to %d", c.CopyMiBPerSecond, maxCopyRate), nil)
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
	if err := host.MakePrivate(c.Run); err != nil {
		return badPlace("run", c.Run, "it cannot be made", err)
	}
	return c.checkPlaces()
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
