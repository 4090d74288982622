package guest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"farshore/tests/lab/need"
)

// HostName is what a guest with an agent calls this host, and what this host calls itself: an address made of it is good for a
// body of a machine that runs here as well as for one that boots. Over [qemu.Loopback] the host's loopback services answer there,
// in whatever machine the disk runs: the configuration server and process servers are named by it.
const HostName = "localhost"

// hostAddress is where QEMU's user network has the host.
const hostAddress = "10.0.2.2"

// Agent is a mobility agent that a machine carries on its own disk, enrolled and started by systemd like any other service.
// Whatever body the disk is in, it comes up there.
type Agent struct {
	Program string // farshore-agent
	State   string // folder with its identity, and all else that becomes its state; "": it enrols later, in [StateDir]
	Control string // host:port of the configuration server
	Extra   string // further lines of its configuration
	Rate    int    // operations per second of a blockwriter beside it, which verify finds at the next boot; 0: there is none
	Ops     int    // how many operations it does in each boot, after which the machine is quiet; 0: it never ends
}

// StateDir is where the agent of a disk keeps its state, below the disk's root.
const StateDir = "var/lib/farshore/agent"

// memory is more than the product's own limit: the lab's machines are small, and most of an agent's memory does not shrink
// with them.
const (
	console = "[Service]\nStandardOutput=journal+console\nStandardError=journal+console\nMemoryHigh=60%\nMemoryMax=70%\n"
	load    = `[Unit]
Description=Write what can be judged
After=farshore-verify.service

[Service]
ExecStart=/usr/local/bin/blockwriter write --dir /var/lib/blockwriter --log /run/blockwriter.log --rate %d --ops %d
`
)

// WithAgent puts an agent on the disk of an image, which must not be attached.
func WithAgent(ctx context.Context, image string, a Agent) (err error) {
	root, err := need.Checkout()
	if err != nil {
		return err
	}
	d, err := Attach(ctx, image)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Detach(context.WithoutCancel(ctx))) }()
	at := func(path string) string { return filepath.Join(d.Root, path) }
	for _, dir := range []string{"etc/farshore", "etc/systemd/system/farshore-agent.service.d", "var/lib/farshore"} {
		if err := os.MkdirAll(at(dir), 0o755); err != nil {
			return fmt.Errorf("make a folder of the agent: %w", err)
		}
	}
	copies := map[string]string{
		a.Program: "usr/bin/farshore-agent", filepath.Join(root, "deploy/systemd/farshore-agent.service"): "etc/systemd/system/farshore-agent.service",
	}
	if a.State != "" {
		copies[a.State] = StateDir
	}
	for from, to := range copies {
		if _, err := need.Run(ctx, "cp", "-r", "--preserve=mode", from, at(to)); err != nil {
			return err
		}
	}
	files := map[string]string{
		"etc/hosts":               hostsFile,
		"etc/farshore/agent.yaml": fmt.Sprintf("control: %s\n%s", a.Control, a.Extra),
		"etc/systemd/system/farshore-agent.service.d/lab.conf": console,
	}
	units := []string{"farshore-agent.service"}
	if a.Rate > 0 {
		files["etc/systemd/system/farshore-load.service"] = fmt.Sprintf(load, a.Rate, a.Ops)
		units = append(units, "farshore-load.service")
	}
	for path, content := range files {
		if err := os.WriteFile(at(path), []byte(content), 0o644); err != nil {
			return fmt.Errorf("write a file of the agent: %w", err)
		}
	}
	return enable(d.Root, units...)
}

const hostsFile = hostAddress + " " + HostName + "\n"
