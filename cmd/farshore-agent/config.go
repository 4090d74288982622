package main

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/goccy/go-yaml"

	"farshore/dataplane/changelog"
	"farshore/dataplane/disk"
	"farshore/dataplane/footprint"
	"farshore/dataplane/host"
	"farshore/dataplane/proxy"
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
	Root    string   `yaml:"root"`    // where the root file system of those disks is mounted: what readiness looks at
	// HookSeconds bounds each hook, FreezeSeconds each freeze, WindowMiB the memory for one recovery point.
	HookSeconds   int `yaml:"hookSeconds"`
	FreezeSeconds int `yaml:"freezeSeconds"`
	WindowMiB     int `yaml:"windowMiB"`
	// CopyMiBPerSecond bounds full copies; 0 does not.
	CopyMiBPerSecond int  `yaml:"copyMiBPerSecond"`
	Capture          bool `yaml:"capture"` // writes themselves, in order, where the kernel allows it
	// RingMiB is the kernel's memory for captured writes; 0 leaves it, like WindowMiB, to the memory of the machine.
	RingMiB int       `yaml:"ringMiB"`
	HRL     hrlConfig `yaml:"hrl"`
	// Proxy is the HTTP proxy to the configuration server; process servers are dialled directly.
	Proxy   *proxy.Config `yaml:"proxy"`
	through proxy.Func
}

// hrlConfig is where the change log may keep how much.
type hrlConfig struct {
	Path      string `yaml:"path"`      // of the file behind the memory; none: memory only
	MemoryMiB int    `yaml:"memoryMiB"` // 0: by the memory of the machine
	FileMiB   int    `yaml:"fileMiB"`
}

const (
	defaultRoot   = "/"
	defaultHook   = 60
	defaultFreeze = 10
	defaultFile   = 1024
	maxSeconds    = 600
	maxWindow     = 4096
	minRing       = 4
	maxRing       = 1024
	minLogMemory  = changelog.MinMemoryBytes >> 20
	maxLogMemory  = 16384
	minLogFile    = 16
	maxLogFile    = changelog.MaxFileBytes >> 20
	maxCopyRate   = 1 << 20
)

// loadConfig reads the file; whatever it does not know is refused. The error is a *fault.Fault (FS-1101, FS-2108).
func loadConfig(path string) (config, error) {
	c := config{
		State: defaultState, Run: defaultRun, Pins: defaultPins, Hooks: defaultHooks, Root: defaultRoot,
		HookSeconds: defaultHook, FreezeSeconds: defaultFreeze, Capture: true,
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
	case c.WindowMiB < 0 || c.WindowMiB > maxWindow:
		return config{}, badConfig(path, fmt.Sprintf("windowMiB is %d, want 1 to %d, or 0", c.WindowMiB, maxWindow), nil)
	case c.RingMiB != 0 && (c.RingMiB < minRing || c.RingMiB > maxRing || c.RingMiB&(c.RingMiB-1) != 0):
		return config{}, badConfig(path, fmt.Sprintf("ringMiB is %d, want a power of two from %d to %d, or 0", c.RingMiB, minRing, maxRing), nil)
	case c.CopyMiBPerSecond < 0 || c.CopyMiBPerSecond > maxCopyRate:
		return config{}, badConfig(path, fmt.Sprintf("copyMiBPerSecond is %d, want 0 to %d", c.CopyMiBPerSecond, maxCopyRate), nil)
	}
	if what := c.HRL.check(); what != "" {
		return config{}, badConfig(path, what, nil)
	}
	if c.through, err = c.Proxy.Dialled(); err != nil {
		return config{}, err
	}
	return c, nil
}

// check says what is wrong with the part for the change log, and fills in the size of a file.
func (h *hrlConfig) check() string {
	switch {
	case h.Path != "" && !filepath.IsAbs(h.Path):
		return fmt.Sprintf("hrl.path is %q, want a path from the root", h.Path)
	case h.Path == "" && h.FileMiB != 0:
		return "hrl.fileMiB is given without hrl.path"
	case h.MemoryMiB != 0 && (h.MemoryMiB < minLogMemory || h.MemoryMiB > maxLogMemory):
		return fmt.Sprintf("hrl.memoryMiB is %d, want %d to %d, or 0", h.MemoryMiB, minLogMemory, maxLogMemory)
	case h.FileMiB != 0 && (h.FileMiB < minLogFile || h.FileMiB > maxLogFile):
		return fmt.Sprintf("hrl.fileMiB is %d, want %d to %d", h.FileMiB, minLogFile, maxLogFile)
	}
	if h.Path != "" && h.FileMiB == 0 {
		h.FileMiB = defaultFile
	}
	return ""
}

// wish is what the configuration says of memory.
func (c config) wish() footprint.Wish {
	return footprint.Wish{RingBytes: int64(c.RingMiB) << 20, LogBytes: int64(c.HRL.MemoryMiB) << 20, WindowBytes: int64(c.WindowMiB) << 20}
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
