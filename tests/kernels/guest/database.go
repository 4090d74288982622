package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The database's tables lie on a volume of LVM on a mirror of md, whose members are called mirror-a and mirror-b; its
// write-ahead log lies on the disk called log. /tools holds the programs, from the file system on the disk called tools.
const (
	databaseUser = 999
	tables, wal  = "/data", "/wal"
	socket       = "/tmp"
	tools        = "/tools"
)

// create makes the disks, and the database with pgbench's tables on them.
func create(t *testing.T) {
	volume := makeVolumeOnMirror(t, []string{bySerial(t, "mirror-a"), bySerial(t, "mirror-b")})
	log := bySerial(t, "log")
	for _, node := range []string{volume, log} {
		run(t, "mkfs.ext4", "-q", "-F", node)
	}
	enter(t, volume, log)
	for _, dir := range []string{tables + "/pg", wal + "/pg"} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(dir, databaseUser, databaseUser); err != nil {
			t.Fatal(err)
		}
	}
	postgres(t, "initdb", "-D", tables+"/pg", "--waldir", wal+"/pg", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
	f, err := os.OpenFile(tables+"/pg/postgresql.conf", os.O_APPEND|os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteString("listen_addresses = ''\nshared_buffers = 16MB\nmax_wal_size = 48MB\nmin_wal_size = 32MB\ncheckpoint_timeout = 30s\njit = off\n")
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	stop := serve(t)
	postgres(t, "createdb", "-h", socket, "bench")
	postgres(t, "pgbench", "-h", socket, "-i", "-q", "-s", "1", "bench")
	postgres(t, "psql", "-h", socket, "-c", "create extension amcheck", "bench")
	stop()
	leave(t)
	report(t, "created", map[string]any{})
}

// busy runs the database and pgbench on it until the power goes.
func busy(t *testing.T) {
	assemble(t)
	serve(t)
	report(t, "database", map[string]any{})
	postgres(t, "pgbench", "-n", "-h", socket, "-c", "4", "-T", "86400", "bench")
}

// recovered lets the database recover and asks for what must hold whenever it was cut off: every transfer is in all four
// tables or in none, and indexes agree with their tables.
func recovered(t *testing.T) {
	assemble(t)
	stop := serve(t)
	sums := postgres(t, "psql", "-h", socket, "-A", "-t", "-c", `select (select sum(abalance) from pgbench_accounts), (select sum(bbalance) from pgbench_branches),
		(select sum(tbalance) from pgbench_tellers), (select coalesce(sum(delta), 0) from pgbench_history)`, "bench")
	values := strings.Split(sums, "|")
	for _, v := range values {
		if v != values[0] || len(values) != 4 {
			t.Errorf("the balances of accounts, branches, tellers and the history are %s", sums)
		}
	}
	postgres(t, "pg_amcheck", "-h", socket, "--heapallindexed", "-d", "bench")
	count := postgres(t, "psql", "-h", socket, "-A", "-t", "-c", "select count(*) from pgbench_history", "bench")
	stop()
	leave(t)
	report(t, "recovered", map[string]any{"Transactions": count})
}

// bySerial gives the node of the disk with a serial number, when it is there.
func bySerial(t *testing.T, serial string) string {
	t.Helper()
	for range 300 {
		for _, attribute := range []string{"serial", "device/serial", "device/vpd_pg80"} {
			paths, err := filepath.Glob("/sys/block/*/" + attribute)
			if err != nil {
				t.Fatal(err)
			}
			for _, path := range paths {
				raw, err := os.ReadFile(path)
				node := "/dev/" + strings.Split(path, "/")[3]
				if _, nerr := os.Stat(node); err == nil && nerr == nil && strings.HasSuffix(strings.TrimSpace(string(raw)), serial) {
					return node
				}
			}
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatalf("there is no disk with the serial number %s", serial)
	return ""
}

// assemble starts the mirror and the volume, and enters them.
func assemble(t *testing.T) {
	t.Helper()
	run(t, "mdadm", "--assemble", "/dev/md0", "--run", bySerial(t, "mirror-a"), bySerial(t, "mirror-b"))
	lvm(t, "vgchange", "--activate", "y", "mirrored")
	enter(t, "/dev/mapper/mirrored-data", bySerial(t, "log"))
}

// enter mounts the file systems, here and where the programs are.
func enter(t *testing.T, volume, log string) {
	t.Helper()
	for at, node := range map[string]string{tools: bySerial(t, "tools"), tables: volume, wal: log} {
		if err := os.MkdirAll(at, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount(node, at, "ext4", 0, ""); err != nil {
			t.Fatalf("mount %s on %s: %v", node, at, err)
		}
	}
	if err := os.Chmod("/tmp", 0o777); err != nil {
		t.Fatal(err)
	}
	for _, at := range within {
		if err := os.MkdirAll(tools+at, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount(at, tools+at, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			t.Fatalf("mount %s in %s: %v", at, tools, err)
		}
	}
	if err := os.WriteFile(tools+"/etc/passwd", fmt.Appendf(nil, "postgres:x:%d:%[1]d::/tmp:/bin/false\n", databaseUser), 0o644); err != nil {
		t.Fatal(err)
	}
}

// within is what the programs see of the machine.
var within = []string{tables, wal, "/tmp", "/dev", "/proc"}

// leave unmounts what the database wrote to.
func leave(t *testing.T) {
	t.Helper()
	for _, at := range []string{tools + tables, tools + wal, tables, wal} {
		if err := unix.Unmount(at, 0); err != nil {
			t.Fatalf("unmount %s: %v", at, err)
		}
	}
}

// serve starts the server; it recovers first. What is given stops it.
func serve(t *testing.T) (stop func()) {
	t.Helper()
	server := tool(t, "postgres", "-D", tables+"/pg", "-k", socket)
	server.Stdout = os.Stderr
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Wait() }()
	for tool(t, "psql", "-h", socket, "-c", "select 1", "postgres").Run() != nil {
		select {
		case err := <-ended:
			t.Fatalf("the database ended: %v", err)
		case <-time.After(200 * time.Millisecond):
		}
	}
	return func() {
		t.Helper()
		if err := server.Process.Signal(syscall.SIGINT); err != nil { // its fast shutdown
			t.Fatal(err)
		}
		if err := <-ended; err != nil {
			t.Fatalf("the database stopped: %v", err)
		}
	}
}

// postgres runs one of the programs and gives what it prints.
func postgres(t *testing.T, name string, args ...string) string {
	t.Helper()
	c := tool(t, name, args...)
	var said strings.Builder
	c.Stderr = &said
	out, err := c.Output()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s%s", name, args, err, out, said.String())
	}
	return strings.TrimSpace(string(out))
}

// tool is a program of PostgreSQL's, as its own user.
func tool(t *testing.T, name string, args ...string) *exec.Cmd {
	c := exec.CommandContext(t.Context(), "/usr/lib/postgresql/15/bin/"+name, args...)
	c.SysProcAttr = &syscall.SysProcAttr{Chroot: tools, Credential: &syscall.Credential{Uid: databaseUser, Gid: databaseUser}}
	c.Dir, c.Env = "/", []string{"PATH=/usr/lib/postgresql/15/bin:/usr/bin:/bin", "PGUSER=postgres", "LC_ALL=C"}
	return c
}
