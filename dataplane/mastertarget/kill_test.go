package mastertarget

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"farshore"
	"farshore/dataplane/disk/disktest"
	"farshore/dataplane/host"
	"farshore/dataplane/journal/journaltest"
	"farshore/dataplane/sink"
)

// childEnv makes the test's binary a master target that will be killed; it holds what that shall do, as JSON.
const childEnv = "FARSHORE_TEST_MASTER_TARGET"

// child is what such a process shall do.
type child struct {
	Dir      string // of vault, key and CA
	State    string
	Settings Settings
	Machine  Machine
	Ends     bool // by itself, when it has finished
}

func TestMain(m *testing.M) {
	if text := os.Getenv(childEnv); text != "" {
		if err := beTarget(context.Background(), text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// beTarget is a master target of its own process, until it is killed.
func beTarget(ctx context.Context, text string) error {
	var c child
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		return err
	}
	reader, replicas, err := journaltest.Open(c.Dir)
	if err != nil {
		return err
	}
	desired := make(chan Desired, 1)
	desired <- Desired{Version: Version{Incarnation: 1, Number: 1}, Machines: []Machine{c.Machine}}
	t := New(Deps{
		Journal: reader, Store: reader.Store, Replicas: replicas,
		Dir: c.State, Settings: c.Settings, Poll: time.Millisecond, Log: slog.New(slog.DiscardHandler),
	})
	if c.Ends {
		t.deps.Changed = func() {
			for _, o := range t.Observed().Machines {
				if o.Finished == c.Machine.Finish {
					os.Exit(0)
				}
			}
		}
	}
	return t.Run(ctx, desired)
}

// deadly is a world whose master target is a process that dies.
type deadly struct {
	*stream
	home   home
	child  child
	device string // of disk sda; disk sdb is an image
}

func newDeadly(t *testing.T, seed uint64) deadly {
	t.Helper()
	w := newWorld(t, seed)
	d := deadly{stream: w.machine("web-01"), home: w.home("home")}
	d.device = filepath.Join(d.home.devices, "disk-1")
	if err := os.Symlink(disktest.NewLoop(t, 6000*512).Path, d.device); err != nil {
		t.Fatal(err)
	}
	d.child = child{Dir: w.vault.Dir, State: d.home.dir, Settings: d.home.deps().Settings, Machine: Machine{Machine: "web-01", Run: "b-1", Sinks: []sink.Sink{
		{Disk: "sda", Kind: farshore.HomeDevice, Path: d.device, Sectors: 6000},
		{Disk: "sdb", Kind: farshore.HomeQCOW2, Path: filepath.Join(d.home.folder, "sdb.qcow2"), Sectors: 1000},
	}}}
	return d
}

// start starts the process, by way of a program if one is given.
func (d deadly) start(finish farshore.Position, by ...string) *exec.Cmd {
	d.t.Helper()
	c := d.child
	c.Machine.Finish = finish
	text, err := json.Marshal(c)
	if err != nil {
		d.t.Fatal(err)
	}
	program, err := os.Executable()
	if err != nil {
		d.t.Fatal(err)
	}
	by = append(by, program)
	cmd := exec.CommandContext(d.t.Context(), by[0], by[1:]...)
	cmd.Env = append(os.Environ(), childEnv+"="+string(text))
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	return cmd
}

// settle lets a living master target finish, and judges what the disks hold.
func (d deadly) settle() {
	d.t.Helper()
	wanted := d.child.Machine
	wanted.Finish = d.Last()
	r := d.home.start()
	r.want(wanted)
	o := r.finished("web-01", d.Last())
	r.stop()
	if o.Proof.Different != 0 {
		d.t.Errorf("proof %+v", o.Proof)
	}
	raw := filepath.Join(d.home.folder, "sdb.raw")
	if out, err := exec.CommandContext(d.t.Context(), "qemu-img", "convert", "-O", "raw", wanted.Sinks[1].Path, raw).CombinedOutput(); err != nil {
		d.t.Fatalf("%v: %s", err, out)
	}
	d.judge(Machine{Sinks: []sink.Sink{wanted.Sinks[0], {Disk: "sdb", Path: raw}}}, d.Last())
}

func TestDisksSurviveKilledMasterTargets(t *testing.T) {
	d := newDeadly(t, 21)
	const kills = 10
	for i := range kills {
		d.story(3)
		var finish farshore.Position
		if i%3 == 2 { // some die while they finish, at an older point too
			finish = d.Order[rand.IntN(len(d.Order))]
		}
		cmd := d.start(finish)
		if err := host.Pause(t.Context(), time.Duration(rand.Int64N(int64(200*time.Millisecond)))); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err == nil || err.Error() != "signal: killed" {
			t.Fatalf("the master target ended before it was killed: %v", err)
		}
	}
	d.settle()
}

func TestDisksSurviveDeathAtEachStateThatIsStored(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("SKIPPED: needs strace")
	}
	d := newDeadly(t, 22)
	d.child.Ends = true
	deaths := 0
	for n := range 6 { // each file of the state takes its place by a rename; strace counts those of each thread
		d.story(2)
		cmd := d.start(d.Last(), strace, "-f", "-qq", "-o", "/dev/null", "-e", "trace=renameat,renameat2",
			"-e", fmt.Sprintf("inject=renameat,renameat2:signal=KILL:when=%d", 1+n))
		if err := cmd.Wait(); err != nil {
			deaths++
		}
	}
	if deaths == 0 {
		t.Error("it never died")
	}
	d.settle()
	t.Logf("%d deaths", deaths)
}
