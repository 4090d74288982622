package kernels

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"farshore"
	"farshore/tests/lab/kernel"
	"farshore/tests/lab/need"
	"farshore/tests/lab/qemu"
)

// postgresPrograms is where this host has the database of the release that the guest has.
const postgresPrograms = "/usr/lib/postgresql/15/bin"

// database is a PostgreSQL of this host in a folder. It must not run as root.
type database struct {
	*testing.T
	dir, socket string
	uid, gid    uint32
}

func newDatabase(t *testing.T, dir string) *database {
	t.Helper()
	if err := need.Programs("a database", postgresPrograms+"/postgres", postgresPrograms+"/pgbench"); err != nil {
		t.Skipf("SKIPPED: %v", err)
	}
	who, err := user.Lookup("postgres")
	if err != nil {
		t.Skipf("SKIPPED: the database needs the user postgres: %v", err)
	}
	uid, _ := strconv.ParseUint(who.Uid, 10, 32) // both are numbers on Linux
	gid, _ := strconv.ParseUint(who.Gid, 10, 32)
	socket, err := os.MkdirTemp("/tmp", "farshore-pg-") // its path must be short
	if err == nil {
		err = os.Chown(socket, int(uid), int(gid))
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(socket); err != nil {
			t.Error(err)
		}
	})
	return &database{T: t, dir: dir, socket: socket, uid: uint32(uid), gid: uint32(gid)}
}

// run runs one of its programs and gives what it prints.
func (d *database) run(name string, args ...string) (string, error) {
	c := exec.CommandContext(d.Context(), filepath.Join(postgresPrograms, name), args...)
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: d.uid, Gid: d.gid}}
	c.Dir, c.Env = d.socket, append(os.Environ(), "PGUSER=postgres", "PGHOST="+d.socket, "LC_ALL=C")
	out, err := c.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("%s %v: %w\n%s", name, args, err, out)
	}
	return strings.TrimSpace(string(out)), nil
}

func (d *database) must(name string, args ...string) string {
	d.Helper()
	out, err := d.run(name, args...)
	if err != nil {
		d.Fatal(err)
	}
	return out
}

func (d *database) start() error {
	_, err := d.run("pg_ctl", "-D", d.dir, "-w", "-t", "120", "-l", filepath.Join(d.socket, "log"), "-o", "-k "+d.socket+" -c listen_addresses=", "start")
	if err != nil {
		log, _ := os.ReadFile(filepath.Join(d.socket, "log")) // what there is
		return fmt.Errorf("%w\n%s", err, log)
	}
	return nil
}

// create makes a database with pgbench's tables.
func (d *database) create() {
	d.Helper()
	if err := os.MkdirAll(d.dir, 0o700); err == nil {
		err = os.Chown(d.dir, int(d.uid), int(d.gid))
		if err != nil {
			d.Fatal(err)
		}
	}
	d.must("initdb", "-D", d.dir, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
	f, err := os.OpenFile(filepath.Join(d.dir, "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteString("listen_addresses = ''\nshared_buffers = 16MB\nmax_wal_size = 48MB\nmin_wal_size = 32MB\ncheckpoint_timeout = 30s\njit = off\n")
	}
	if err != nil {
		d.Fatal(err)
	}
	if err := f.Close(); err != nil {
		d.Fatal(err)
	}
	if err := d.start(); err != nil {
		d.Fatal(err)
	}
	d.must("createdb", "bench")
	d.must("pgbench", "-i", "-q", "-s", "1", "bench")
	d.must("psql", "-c", "create extension amcheck", "bench")
	d.must("pg_ctl", "-D", d.dir, "-w", "stop")
}

// verify lets the database recover, and asks for what must hold whenever it was cut off: every transfer is in all four
// tables or in none, and indexes agree with their tables.
func (d *database) verify() (transactions string) {
	d.Helper()
	if err := d.start(); err != nil {
		d.Error(err)
		return ""
	}
	sums := d.must("psql", "-A", "-t", "-c", `select (select sum(abalance) from pgbench_accounts), (select sum(bbalance) from pgbench_branches),
		(select sum(tbalance) from pgbench_tellers), (select coalesce(sum(delta), 0) from pgbench_history)`, "bench")
	values := strings.Split(sums, "|")
	for _, v := range values[1:] {
		if v != values[0] {
			d.Errorf("the balances of accounts, branches, tellers and the history are %s", sums)
		}
	}
	if out, err := d.run("pg_amcheck", "--heapallindexed", "-d", "bench"); err != nil {
		d.Errorf("pg_amcheck: %v\n%s", err, out)
	}
	transactions = d.must("psql", "-A", "-t", "-c", "select count(*) from pgbench_history", "bench")
	d.must("pg_ctl", "-D", d.dir, "-w", "-m", "fast", "stop")
	return transactions
}

// A database under load in a guest; its points are restored here, and the same release of PostgreSQL recovers on them.
func TestPostgreSQLRecoversFromEveryPointOfABusyGuest(t *testing.T) {
	if !long() {
		t.Skip("SKIPPED: a database in an emulated machine takes minutes; run: make kernels")
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	s := newSite(t, 5)
	disk := s.path("disk")
	if err := os.Mkdir(disk, 0o755); err != nil {
		t.Fatal(err)
	}
	// The user of the database passes through the test's own folder.
	for dir := disk; dir != "/" && dir != "/tmp"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	d := newDatabase(t, filepath.Join(disk, "pg"))
	d.create()
	_, tools := fetch(t, kernel.Debian12, "postgresql-15")
	job := guestJob(fmt.Sprintf("mkdir -p /tools; mount -t ext4 $(find tools) /tools || exit 1\nPG_UID=%d /guest -test.v -test.timeout 0 -test.run '^postgres$'", d.uid))
	p := newPower(t, s, kernel.Debian12, s.ext4("protected.img", protectedBytes, disk), job,
		qemu.Disk{Path: s.ext4("tools.img", 1<<30, tools), Bus: qemu.Virtio, Serial: "tools"})
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	now := p.on(ctx, false)
	var points []farshore.RecoveryPoint
	for points = p.points(p.restorer); len(points) < pointsWanted(t); points = p.points(p.restorer) {
		select {
		case <-ctx.Done():
			t.Fatalf("%d points were made: %v\n%s", len(points), ctx.Err(), now.guest.Console())
		case <-time.After(2 * time.Second):
		}
	}
	now.guest.Stop()
	first, last := points[0].Time, points[len(points)-1].Time
	t.Logf("%d points in %.0f s", len(points), last.Sub(first).Seconds())
	random := rand.New(rand.NewPCG(seed, 0))
	random.Shuffle(len(points), func(i, j int) { points[i], points[j] = points[j], points[i] })
	for _, point := range points[:min(restores, len(points))] {
		t.Logf("point %v of %v: %s transactions", point.Position, point.Time, p.recover(d, point))
	}
}

// restores is how many points are restored.
const restores = 8

// pointsWanted is how many points are made before the power is cut.
func pointsWanted(t *testing.T) int {
	t.Helper()
	text := os.Getenv("POINTS")
	if text == "" {
		return 20
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// recover restores a point, mounts it, and has the database verified.
func (p *power) recover(d *database, point farshore.RecoveryPoint) (transactions string) {
	p.Helper()
	restored, at := p.path("restored.img"), p.path("mnt")
	p.restore(p.restorer, "write", guestName, "--at", point.Position.String(), "--to", "raw", "--out", restored, "--yes")
	if err := os.MkdirAll(at, 0o755); err != nil {
		p.Fatal(err)
	}
	if _, err := need.Run(p.Context(), "mount", "-t", "ext4", "-o", "loop", restored, at); err != nil {
		p.Errorf("point %v: %v", point.Position, err)
		return ""
	}
	defer func() {
		if _, err := need.Run(context.WithoutCancel(p.Context()), "umount", at); err != nil {
			p.Error(err)
		}
		if err := os.Remove(restored); err != nil {
			p.Error(err)
		}
	}()
	recovered := *d
	recovered.dir = filepath.Join(at, "pg")
	return recovered.verify()
}
