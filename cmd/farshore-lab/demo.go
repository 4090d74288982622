package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/cmd/commandline"
	"farshore/tests/blockwriter"
	"farshore/tests/lab/armsim"
	"farshore/tests/lab/guest"
	"farshore/tests/lab/stack"
)

const (
	machine     = "demo-1"
	pointsEvery = 3 * time.Second
	// The longest that each wait of the demo may take on two slow cores.
	replicationTimeout = 6 * time.Minute
	runTimeout         = 6 * time.Minute
	wayTimeout         = 10 * time.Minute
	pointTimeout       = time.Minute
)

type demoOptions struct {
	cache, dir string
	hold       bool
}

// demo is the story while it is told.
type demo struct {
	demoOptions
	screen *screen
	stack  *stack.Stack
	source source
	home   *home // nil if what is recovered carries no agent
	facts  facts
}

// facts are what the table at the end is made of, all of them measured.
type facts struct {
	initialBytes, sentBytes, storedBytes uint64
	initialTook, testTook, failoverTook  time.Duration
	points                               int
	rpo                                  time.Duration
	lost                                 uint64
	verified                             uint64
	reprotectTook, failbackTook          time.Duration
	homeBytes, compared, againBytes      uint64
}

// chapter is a part of the story.
type chapter struct {
	title string
	tell  func(context.Context) error
}

func runDemo(ctx context.Context, o demoOptions) (err error) {
	d := &demo{demoOptions: o, screen: newScreen(os.Stdout)}
	defer func() { err = errors.Join(err, d.close(context.WithoutCancel(ctx))) }()
	chapters := []chapter{
		{"A server with a disk and somebody writing on it", d.prepare},
		{"Farshore: vault, Temporal, configuration server, process server, applier, agent", d.start},
		{"Protect the server: initial replication under load", d.protect},
		{"Test failover: boot the replica in an isolated network while replication goes on", d.test},
		{"The site is lost: failover to the latest point", d.failover},
		{"Commit: the machine stays where it is", d.commit},
	}
	if os.Geteuid() == 0 {
		chapters = append(chapters,
			chapter{"Reprotect: replicate it home while it works, to a new VM on vSphere", d.reprotect},
			chapter{"Failback: hold it, compare every block at home, start it there", d.failback},
			chapter{"Commit the failback: protected from home again", d.protectAgain})
	}
	for _, c := range chapters {
		d.screen.chapter(c.title)
		if err := c.tell(ctx); err != nil {
			return err
		}
	}
	d.summary()
	if d.hold {
		d.screen.chapter("Everything is left running; press Ctrl-C to end it")
		d.addresses()
		<-ctx.Done()
	}
	return nil
}

func (d *demo) close(ctx context.Context) error {
	var err error
	if d.source != nil {
		d.source.Stop()
	}
	if d.stack != nil {
		err = d.stack.Close()
	}
	if d.home != nil {
		err = errors.Join(err, d.home.hq.Close(ctx))
	}
	if d.source != nil {
		err = errors.Join(err, d.source.Release(ctx))
	}
	return err
}

// prepare makes a fresh folder and the disk. What an earlier demo left behind, perhaps by a crash, goes first.
func (d *demo) prepare(ctx context.Context) error {
	if os.Geteuid() == 0 {
		if err := guest.Release(ctx, filepath.Join(d.dir, "source.img")); err != nil {
			return err
		}
	}
	if err := os.RemoveAll(d.dir); err != nil {
		return fmt.Errorf("clear the demo's folder: %w", err)
	}
	if err := os.MkdirAll(d.dir, 0o755); err != nil {
		return fmt.Errorf("make the demo's folder: %w", err)
	}
	if os.Geteuid() != 0 {
		d.screen.say("Without root there is no loop device, no eBPF and no freeze: this is an image file, scanned for changes, and its")
		d.screen.say("recovered copy is judged without being booted, and does not come home. As root the demo does the real thing.")
	}
	made, err := newSource(ctx, d.cache, d.dir)
	if err != nil {
		return err
	}
	d.source = made
	if err := d.source.StartWriter(ctx); err != nil {
		return err
	}
	d.screen.say("disk    %s", d.source.Describe())
	d.screen.say("writer  stamps blocks and files, and logs elsewhere what was acknowledged to it as durable")
	return nil
}

func (d *demo) start(ctx context.Context) error {
	options := stack.Options{
		Dir: filepath.Join(d.dir, "farshore"), Machine: machine, Sources: d.source.Disks(), Hypervisor: d.source.Hypervisor(),
		Host: guest.HostName, Root: d.source.Root(), Hooks: d.source.Hooks(), AppEvery: d.appEvery(), FixedPorts: true,
		Say: func(what string) { d.screen.say("%s", what) },
	}
	var err error
	if d.source.Root() != "" {
		if d.home, err = openHome(ctx, d.dir); err != nil {
			return err
		}
		options.VCenter = d.home.vcenter()
	}
	if d.stack, err = stack.Up(ctx, options); err != nil {
		return err
	}
	d.screen.say("starting an agent on the server")
	if err := d.stack.StartAgent(ctx); err != nil {
		return err
	}
	d.addresses()
	return nil
}

// appEvery is how often the hooks hold the writer. What a freeze can hold needs no hooks.
func (d *demo) appEvery() time.Duration {
	if d.source.Hooks() == "" {
		return 0
	}
	return pointsEvery
}

func (d *demo) addresses() {
	d.screen.say("Temporal UI  http://127.0.0.1:%d/namespaces/farshore/workflows", d.stack.Ports.TemporalUI)
	d.screen.say("command line FARSHORE_PROFILE=%s %s/farshore machine show %s", d.stack.Profile, d.stack.Bin, machine)
}

// copying says how far the agent is with what it owes.
func (d *demo) copying(verb string, r *farshorev1.Replication) {
	done, total := r.GetCopyDoneBytes(), r.GetCopyTotalBytes()
	d.screen.progress(verb, done, total, fmt.Sprintf("%s of %s  grade %s", commandline.Size(done), commandline.Size(total), r.GetGrade()))
}

func (d *demo) protect(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, replicationTimeout)
	defer cancel()
	began := time.Now()
	if err := d.stack.Enable(ctx, pointsEvery); err != nil {
		return err
	}
	m, err := d.stack.AwaitMachine(ctx, func(m *farshorev1.Machine) bool {
		r := m.GetReplication()
		if r.GetCopyTotalBytes() > 0 {
			d.copying("sent", r)
		}
		return m.GetLastPoint() != nil && m.GetState().GetProtection() == "protected"
	})
	if err != nil {
		return err
	}
	d.facts.initialTook, d.facts.initialBytes = time.Since(began), m.GetReplication().GetSentBytes()
	d.screen.say("protected after %s; first recovery point %s", d.facts.initialTook.Round(time.Second), position(m.GetLastPoint()))
	return d.showPoints(ctx, 4)
}

// showPoints waits for so many further recovery points.
func (d *demo) showPoints(ctx context.Context, more int) error {
	ctx, cancel := context.WithTimeout(ctx, pointTimeout)
	defer cancel()
	seen := ""
	for shown := 0; shown < more; {
		m, err := d.stack.AwaitMachine(ctx, func(m *farshorev1.Machine) bool { return position(m.GetLastPoint()) != seen })
		if err != nil {
			return err
		}
		seen = position(m.GetLastPoint())
		shown++
		d.screen.say("recovery point %-14s %s-consistent, age %d s, %s sent so far", seen, m.GetLastPoint().GetConsistency(), m.GetRpoSeconds(), commandline.Size(m.GetReplication().GetSentBytes()))
	}
	return nil
}

func position(p *farshorev1.RecoveryPoint) string {
	q := p.GetPosition()
	return fmt.Sprintf("g%d.e%d.s%d", q.GetGeneration(), q.GetEpoch(), q.GetSeq())
}

func (d *demo) test(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, runTimeout)
	defer cancel()
	before, err := d.stack.Points(ctx)
	if err != nil {
		return err
	}
	began, left := time.Now(), d.stack.ARM.Resources()
	run, report, err := d.judged(ctx, "test")
	if err != nil {
		return err
	}
	d.facts.testTook = time.Since(began)
	if err := sound(report); err != nil {
		return err
	}
	after, err := d.stack.Points(ctx)
	if err != nil {
		return err
	}
	d.screen.say("the test machine runs and finds its disk sound: %d stamped blocks, last write %d", report.Stamped, report.LastSeq)
	d.screen.say("meanwhile %d new recovery points arrived", len(after)-len(before))
	if len(after) <= len(before) {
		return errors.New("replication stood still during the test failover")
	}
	return d.cleanup(ctx, run, left)
}

// cleanup removes the test and looks whether anything is left.
func (d *demo) cleanup(ctx context.Context, run string, before []string) error {
	if _, err := d.stack.CLI(ctx, "failover", "cleanup", machine, "--run", run, "--yes"); err != nil {
		return err
	}
	if _, err := d.stack.AwaitRun(ctx, run, stack.Completed); err != nil {
		return err
	}
	for _, id := range d.stack.ARM.Resources() {
		if !slices.Contains(before, id) {
			return fmt.Errorf("the cleanup left %s behind", id)
		}
	}
	d.screen.say("cleaned up: nothing of the test is left in the subscription")
	return nil
}

// judged starts a failover or a test of one, and waits until what it started has judged its disk.
func (d *demo) judged(ctx context.Context, verb string) (run string, report blockwriter.Report, err error) {
	if run, err = d.stack.Operate(ctx, "failover", verb, machine); err != nil {
		return "", report, err
	}
	if err := d.follow(ctx, run, booted); err != nil {
		return "", report, err
	}
	report, err = d.source.Judge(ctx, run+"-vm")
	return run, report, err
}

// booted is a run whose machine has started.
func booted(r *farshorev1.GetRunResponse) bool {
	return slices.ContainsFunc(r.GetSteps(), func(s *farshorev1.Step) bool {
		return strings.HasSuffix(s.GetName(), "AwaitBoot") && s.GetStatus() == "completed"
	})
}

// follow tells the steps of a run as they happen, until it is far enough.
func (d *demo) follow(ctx context.Context, run string, enough func(*farshorev1.GetRunResponse) bool) error {
	told := map[string]bool{}
	_, err := d.stack.AwaitRun(ctx, run, func(r *farshorev1.GetRunResponse) bool {
		for _, s := range r.GetSteps() {
			if s.GetStatus() == "completed" && !told[s.GetName()] {
				told[s.GetName()] = true
				d.screen.say("done  %s", s.GetSummary())
			}
			if s.GetStatus() == "running" {
				d.screen.progress("now   "+s.GetSummary(), s.GetDoneBytes(), s.GetTotalBytes(), s.GetProgress())
			}
		}
		return enough(r)
	})
	return err
}

func (d *demo) failover(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, runTimeout)
	defer cancel()
	m, err := d.stack.Show(ctx)
	if err != nil {
		return err
	}
	points, err := d.stack.Points(ctx)
	if err != nil {
		return err
	}
	d.facts.points = len(points)
	d.facts.sentBytes = m.GetReplication().GetSentBytes()
	d.source.KillWriter()
	d.stack.Kill(stack.Agent)
	began := time.Now()
	d.screen.say("the server is dead: writer and agent are killed")
	_, report, err := d.judged(ctx, "start")
	if err != nil {
		return err
	}
	d.facts.failoverTook = time.Since(began)
	if err := d.compare(report); err != nil {
		return err
	}
	_, err = d.stack.AwaitMachine(ctx, func(m *farshorev1.Machine) bool { return m.GetState().GetLocation() == "commit-pending" })
	return err
}

// sound refuses a recovered disk that is not exactly what a power cut could have left.
func sound(r blockwriter.Report) error {
	if !r.OK || !r.Found || r.Violations > 0 {
		return fmt.Errorf("the recovered disk is not sound: %s", r)
	}
	return nil
}

// compare holds the recovered disk against the writer's log.
func (d *demo) compare(r blockwriter.Report) error {
	if err := sound(r); err != nil {
		return err
	}
	lost, rpo, err := d.source.Loss(r)
	if err != nil {
		return err
	}
	d.facts.lost, d.facts.rpo, d.facts.verified = lost, rpo, r.Stamped
	d.screen.say("the recovered machine runs; its disk is an exact state of the writer's, %d blocks checked", r.Stamped)
	d.screen.say("acknowledged to the writer and not there: %d writes, the last %.1f s before the disaster", lost, rpo.Seconds())
	return nil
}

func (d *demo) commit(ctx context.Context) error {
	if _, err := d.stack.CLI(ctx, "failover", "commit", machine, "--yes"); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, runTimeout)
	defer cancel()
	m, err := d.stack.AwaitMachine(ctx, func(m *farshorev1.Machine) bool { return m.GetState().GetLocation() == "recovery" })
	if err != nil {
		return err
	}
	d.screen.say("committed: %s runs at %s as %s; its %d recovery points stay", machine, stack.Location, m.GetVmAddress(), d.facts.points)
	d.facts.storedBytes, err = d.stack.JournalBytes(ctx)
	return err
}

func (d *demo) summary() {
	f := d.facts
	d.screen.chapter("What was measured")
	rows := [][2]string{
		{"initial replication", fmt.Sprintf("%s in %s, under load", commandline.Size(f.initialBytes), f.initialTook.Round(time.Second))},
		{"sent by the agent in all", commandline.Size(f.sentBytes)},
		{"stored in the journal (compressed, encrypted)", commandline.Size(f.storedBytes)},
		{"recovery points", fmt.Sprint(f.points)},
		{"test failover until the replica judged itself", f.testTook.Round(time.Second).String()},
		{"RTO: failover until the machine judged itself", f.failoverTook.Round(time.Second).String()},
		{"RPO, measured on the recovered disk", fmt.Sprintf("%.1f s (%d acknowledged writes)", f.rpo.Seconds(), f.lost)},
		{"blocks of the recovered disk checked, violations", fmt.Sprintf("%d, 0", f.verified)},
	}
	if d.home != nil {
		rows = append(rows,
			[2]string{"reprotect until home held a clean state", f.reprotectTook.Round(time.Second).String()},
			[2]string{"failback until the machine at home judged itself", f.failbackTook.Round(time.Second).String()},
			[2]string{"sent home, of " + commandline.Size(guest.DiskBytes), commandline.Size(f.homeBytes)},
			[2]string{"compared at home before the start, different", commandline.Size(f.compared) + ", 0"},
			[2]string{"sent out again from home", commandline.Size(f.againBytes)})
	}
	d.screen.table(rows)
}

// guests is the hypervisor that keeps its consoles in a folder of the demo.
func guests(dir string) (*armsim.Guests, error) {
	consoles := filepath.Join(dir, "consoles")
	if err := os.MkdirAll(consoles, 0o755); err != nil {
		return nil, fmt.Errorf("make a folder for consoles: %w", err)
	}
	return armsim.NewGuests(consoles), nil
}
