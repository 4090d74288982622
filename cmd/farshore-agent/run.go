package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"farshore"
	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/cmd/commandline"
	"farshore/dataplane/agent"
	"farshore/dataplane/credential"
	"farshore/dataplane/disk"
	"farshore/dataplane/footprint"
	"farshore/dataplane/group"
	"farshore/dataplane/group/peers"
	"farshore/dataplane/host"
	"farshore/dataplane/hub"
	"farshore/dataplane/session"
)

func newRun() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:     "run",
		Short:   "Track, send and make recovery points",
		Example: "  farshore-agent run --config /etc/farshore/agent.yaml",
		Args:    commandline.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return supervised(cmd.Context(), func(ctx context.Context, log *slog.Logger) error {
				c, err := loadConfig(path)
				if err != nil {
					return err
				}
				if err := c.prepare(); err != nil {
					return err
				}
				return runAgent(ctx, c, log)
			})
		},
	}
	cmd.Flags().StringVar(&path, "config", defaultConfig, "configuration `FILE`")
	return cmd
}

func runAgent(ctx context.Context, c config, log *slog.Logger) error {
	node, machine, err := loadNode(c.State)
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find the agent's own program for the watchdog: %w", err)
	}
	if points, err := disk.ThawRemembered(filepath.Join(c.Run, agent.FrozenFile)); err != nil || len(points) > 0 {
		log.Warn("an agent that was killed had file systems frozen", "points", points, "err", err)
	}
	body, err := host.BodyID()
	if err != nil {
		return err
	}
	budgets := c.budgets(log)
	still := new(host.Stillness)
	a := agent.New(agent.Deps{
		RingBytes: c.ring(budgets), ChangeLog: agent.ChangeLog{MemoryBytes: budgets.LogBytes, Path: c.HRL.Path, FileBytes: int64(c.HRL.FileMiB) << 20},
		Machine: machine, Body: body, Node: node, Sources: c.sources, StateDir: c.State, RunDir: c.Run, PinDir: c.Pins, Hooks: c.hooks(),
		Watchdog: []string{self, watchdogVerb}, FreezeBound: time.Duration(c.FreezeSeconds) * time.Second,
		WindowBytes: budgets.WindowBytes, Pressure: footprint.NewWatch(os.DirFS("/"), time.Now).Pressure, CopyRate: int64(c.CopyMiBPerSecond) << 20, Limits: session.DefaultLimits(), Log: log, Now: time.Now,
		Snapshots: c.snapshots(), Still: still, Moved: func() error { return hub.ForgetDesired(c.State) },
	})
	if err := a.Settle(); err != nil { // before anything is read of what was wanted: it may be a predecessor's
		return err
	}
	client := hub.NewClient(hub.Config{Address: c.Control, Node: node, Dir: c.State, Build: commandline.Version(), Now: time.Now, Log: log, Still: still, Proxy: c.through})
	watch := &readinessWatch{dir: c.State, look: examiner(c.Root), changed: client.Report, now: time.Now, log: log}
	together := peers.New(peers.Config{Machine: machine, Node: node, Cutter: a, Times: group.DefaultTimes(), Log: log, Now: time.Now})
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return a.Run(ctx) })
	g.Go(func() error { return together.Run(ctx) })
	g.Go(func() error { return watch.Run(ctx) })
	g.Go(func() error {
		return client.Run(ctx, func(r *farshorev1.SyncRequest) {
			o := observed(a.Observe())
			watch.put(o.Agent)
			r.Observed = o
		},
			func(r *farshorev1.SyncResponse) {
				a.Desire(desired(r.GetAgent()))
				together.Desire(groupOf(r.GetAgent(), a.Observe().Instance))
			})
	})
	g.Go(func() error { return reportChanges(ctx, a, client) })
	// Outside systemd there is nobody to notify, which is no error.
	daemon.SdNotify(false, daemon.SdNotifyReady) //nolint:errcheck
	return g.Wait()
}

// ring is the size of the ring of captured writes; 0 captures none.
func (c config) ring(b footprint.Budgets) int {
	if !c.Capture {
		return 0
	}
	return int(b.RingBytes)
}

// budgets divides the memory that the machine gives, and says so once.
func (c config) budgets(log *slog.Logger) footprint.Budgets {
	limits := footprint.Read(os.DirFS("/"))
	limits.ProtectedBytes = c.diskBytes()
	b := footprint.Budget(limits).With(c.wish())
	log.Info("memory budgets", "allowedBytes", b.AllowedBytes, "ringBytes", b.RingBytes, "logBytes", b.LogBytes, "windowBytes", b.WindowBytes,
		"trackerBytes", b.TrackerBytes)
	if f := b.Fault(); f != nil {
		log.Warn("memory is short", "err", f)
	}
	return b
}

// diskBytes is the size of the disks that may be protected. Whatever cannot be opened now counts nothing: whoever protects
// it says why.
func (c config) diskBytes() (bytes int64) {
	sources, err := c.sources()
	if err != nil {
		return 0
	}
	for _, s := range sources {
		d, err := disk.Open(s.Path)
		if err != nil {
			continue
		}
		if n, err := d.Sectors(); err == nil {
			bytes += n.Bytes()
		}
		d.Close() //nolint:errcheck // only read
	}
	return bytes
}

func loadNode(state string) (*credential.Node, farshore.MachineID, error) {
	node, err := credential.Load(state, time.Now)
	if err != nil {
		return nil, "", identityFault(state, err)
	}
	id, err := node.Identity()
	if err == nil && id.Role != farshore.RoleAgent {
		err = fmt.Errorf("it is enrolled as %s", id)
	}
	if err != nil {
		return nil, "", identityFault(state, err)
	}
	return node, farshore.MachineID(id.Name), nil
}

// lookEvery is how often the agent's state is compared with what the hub was told.
const lookEvery = time.Second

// reportChanges tells the hub early when something changed that people wait for.
func reportChanges(ctx context.Context, a *agent.Agent, client *hub.Client) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	var told news
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if now := newsOf(a.Observe()); now != told {
			told = now
			client.Report()
		}
	}
}

// news is what is worth an early report.
type news struct {
	phase  agent.Phase
	point  farshore.Position
	copied int64
	cut    uint64
	faults int
	disks  int
	still  bool
	read   int64 // of a comparison
	ended  uint64
}

func newsOf(o agent.Observed) news {
	n := news{phase: o.Phase, point: o.LastPoint.Position, copied: o.CopyDone, cut: o.CutNumber, faults: len(o.Faults), disks: len(o.Machine.Disks), still: o.Holding, read: o.Comparison.Read}
	if o.Comparison.Done {
		n.ended = o.Comparison.Number
	}
	return n
}
