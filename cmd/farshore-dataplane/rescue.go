package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"farshore"
	"farshore/cmd/commandline"
	"farshore/dataplane/hub"
	"farshore/dataplane/mastertarget"
	"farshore/dataplane/proxy"
	"farshore/dataplane/rescue"
	"farshore/dataplane/sink"
	"farshore/fault"
)

// Where a rescue image keeps what it was built with, and what it knows while it runs: in memory.
const (
	rescueFile       = "/etc/farshore/rescue.yaml"
	rescueTargetFile = "/etc/farshore/master-target.yaml"
	rescueState      = "/run/farshore"
)

// rescueConfig is the file that says what a rescue image was built for.
type rescueConfig struct {
	Machine farshore.MachineID `yaml:"machine"`
	Name    string             `yaml:"name"` // of the master target
	Control string             `yaml:"control"`
	Token   string             `yaml:"token"` // used once, when the image is started
	CAPin   string             `yaml:"caPin"`
}

func newRescue() *cobra.Command {
	cmd := &cobra.Command{Use: "rescue", Short: "Bring a machine home to bare metal", Args: cobra.ArbitraryArgs, RunE: commandline.Group}
	run := &cobra.Command{
		Use: "run", Short: "What a rescue image does as the first process", Hidden: true, Args: commandline.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return runRescue(cmd.Context()) },
	}
	cmd.AddCommand(newRescueBuild(), run)
	return cmd
}

// errLanded says that the machine is home, and the metal may start it.
var errLanded = errors.New("the machine is home")

// runRescue is the life of a rescue system. It does not return: a first process that ends takes the kernel with it.
func runRescue(ctx context.Context) error {
	if os.Getpid() != 1 {
		return &fault.Fault{
			Code: "FS-4125", Kind: fault.Refused, Subject: "rescue system", What: "this is not a rescue image: it would mount and restart this machine",
			Remedy: "build one: farshore-dataplane rescue build --help",
		}
	}
	if err := rescue.Prepare(commandline.Logger()); err != nil {
		commandline.Explain(os.Stderr, "rescue", err)
	}
	console, err := rescue.OpenConsole()
	if err != nil {
		commandline.Explain(os.Stderr, "rescue", err)
		return err
	}
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return console.Run(gctx) })
	g.Go(func() error {
		err := attended(gctx, console)
		if err != nil && !errors.Is(err, errLanded) {
			commandline.Explain(console, "rescue", err)
			if _, err := console.Ask(gctx, "Type r to restart this machine."); err != nil {
				return err
			}
		}
		console.Drain()
		return rescue.Restart()
	})
	return g.Wait()
}

// attended runs the master target of a rescue system until the machine is home.
func attended(ctx context.Context, console *rescue.Console) error {
	var c rescueConfig
	if err := readConfig(rescueFile, &c); err != nil {
		return err
	}
	var target masterTargetConfig
	if err := readConfig(rescueTargetFile, &target); err != nil {
		return err
	}
	if err := target.complete(rescueTargetFile); err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(console, nil))
	console.Say("\nFarshore rescue image for machine %s (started by %s)", c.Machine, rescue.Firmware())
	network := rescue.NewNetwork(rescue.CommandLine("ip"), log)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return rescue.KeepNames(ctx, log) })
	g.Go(func() error { return network.Run(ctx) })
	g.Go(func() error {
		console.Say("Waiting for an address...")
		at, err := network.Up(ctx)
		if err != nil {
			return err
		}
		console.Say("The address is %s. Enrolling as %s at %s...", at, c.Name, c.Control)
		if err := enrolRescue(ctx, c, target.Vault.Proxy, log); err != nil {
			return err
		}
		a := attendant{config: c, console: console, log: log, gone: make(chan mastertarget.MachineObserved, 1)}
		return bringHome(ctx, target, log, a.attend)
	})
	return g.Wait()
}

// enrolRescue trades the token for a certificate. As long as the configuration server does not answer it tries again.
func enrolRescue(ctx context.Context, c rescueConfig, through proxy.Func, log *slog.Logger) error {
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		_, err := hub.Enrol(ctx, hub.Enrolment{
			Address: c.Control, Token: c.Token, Pin: c.CAPin, Dir: rescueState, Now: time.Now, Proxy: through,
			Identity: farshore.Identity{Role: farshore.RoleMasterTarget, Name: c.Name},
		})
		if f, ok := fault.As(err); ok && f.Kind == fault.Transient {
			log.Warn("the configuration server does not answer; trying on", "err", err)
			return struct{}{}, err
		}
		if err != nil {
			return struct{}{}, backoff.Permanent(err)
		}
		return struct{}{}, nil
	}, backoff.WithMaxElapsedTime(0))
	return err
}

// attendant is what a rescue system adds to its master target.
type attendant struct {
	config  rescueConfig
	console *rescue.Console
	log     *slog.Logger
	gone    chan mastertarget.MachineObserved
}

// progressEvery is how often the console says what the disks are at, if that is not what it said last.
const progressEvery = 30 * time.Second

func (a attendant) attend(d *mastertarget.Deps, tell func(context.Context) error) func(context.Context, *mastertarget.Target) error {
	consent := &rescue.Attendant{
		Machine: a.config.Machine, Console: a.console, Spec: d.Journal.Spec, Disks: rescue.Disks, Started: rescue.Firmware(), Log: a.log,
	}
	d.Consent = consent.Consent
	d.GaveBack = func(o mastertarget.MachineObserved) { a.gone <- o }
	return func(ctx context.Context, t *mastertarget.Target) error {
		a.propose(ctx, d)
		tick := time.NewTicker(progressEvery)
		defer tick.Stop()
		for said := ""; ; {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-tick.C:
				said = a.progress(t.Observed().Machines, said)
			case o := <-a.gone:
				if o.Finished.IsZero() {
					a.console.Say("\nThe disks were given back before the machine was home: nothing more is written to them.")
					continue
				}
				return a.land(ctx, o, tell)
			}
		}
	}
}

// progress says what the disks are at, unless that was said last. It gives what was.
func (a attendant) progress(machines []mastertarget.MachineObserved, said string) string {
	for _, m := range machines {
		if line := rescue.Progress(m); line != said && line != "" {
			a.console.Say("%s", line)
			said = line
		}
	}
	return said
}

// propose shows the disks that are there, and a mapping.
func (a attendant) propose(ctx context.Context, d *mastertarget.Deps) {
	disks, err := rescue.Disks()
	if err != nil {
		commandline.Explain(a.console, "rescue", err)
		return
	}
	a.console.Say("\nThe disks of this machine:\n%s", rescue.Table(disks))
	spec, err := d.Journal.Spec(ctx, a.config.Machine)
	if err != nil {
		commandline.Explain(a.console, "rescue", err)
		return
	}
	a.console.Say("A home file for farshore reprotect start %s --home FILE could be:\n\n%s", a.config.Machine,
		rescue.HomeFile(a.config.Name, spec, rescue.Propose(spec, disks)))
	a.console.Say("Ready: %s waits for the configuration server.", a.config.Name)
}

// land makes the firmware start what was restored, and tells the hub that the disks are no longer in our hands.
func (a attendant) land(ctx context.Context, o mastertarget.MachineObserved, tell func(context.Context) error) error {
	a.console.Say("\nMachine %s is home: %d bytes were compared, none of them different.", o.Machine, o.Proof.Compared)
	landing, err := rescue.Land(o.Machine, paths(o.Sinks))
	if err == nil && landing.Loader != "" {
		for _, c := range landing.Copied {
			a.console.Say("Copied on its EFI system partition: %s to %s", c[0], c[1])
		}
		a.console.Say("The firmware starts %s on %s; it has one entry for it.", landing.Loader, landing.Disk)
	}
	if told := tell(ctx); told != nil {
		return errors.Join(err, told)
	}
	if err != nil {
		return err
	}
	a.console.Say("Restarting into it.")
	return fmt.Errorf("%w: %s", errLanded, o.Machine)
}

func paths(sinks []sink.Sink) []string {
	var all []string
	for _, s := range sinks {
		all = append(all, s.Path)
	}
	return all
}
