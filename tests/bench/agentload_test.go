package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// fileMiB is the size of the file that fio writes to.
const fileMiB = 256

// fioResult is what fio says of its one job.
type fioResult struct {
	Jobs []struct {
		Error int
		Write struct {
			IOPS    float64 `json:"iops"`
			Rate    float64 `json:"bw_bytes"`
			Total   int64   `json:"total_ios"`
			IOBytes int64   `json:"io_bytes"`
		}
	}
}

// fio runs one job on the bench's file.
func (a *agentBench) fio(args ...string) fioResult {
	a.Helper()
	common := []string{
		"--name=bench", "--filename=" + filepath.Join(a.dir, "fio"), fmt.Sprintf("--size=%dm", fileMiB), "--direct=1", "--ioengine=libaio", "--overwrite=1",
		"--time_based", fmt.Sprintf("--runtime=%g", runFor.Seconds()), "--randrepeat=0", "--norandommap", "--refill_buffers", "--output-format=json",
	}
	out, err := a.command(exec.CommandContext(a.Context(), "fio", append(common, args...)...)).Output()
	if err != nil {
		a.Fatalf("fio %v: %v\n%s", args, err, out)
	}
	var r fioResult
	if at := bytes.IndexByte(out, '{'); at >= 0 {
		out = out[at:]
	}
	if err := json.Unmarshal(out, &r); err != nil || len(r.Jobs) != 1 || r.Jobs[0].Error != 0 {
		a.Fatalf("fio %v: %v\n%s", args, err, out)
	}
	return r
}

func fioLoads() []load {
	operations := func(args ...string) func(*agentBench) float64 {
		return func(a *agentBench) float64 { return a.fio(args...).Jobs[0].Write.IOPS }
	}
	// Bound to the first processor, fio leaves the others to the agent, as a machine does that has processors to spare.
	const bound = "--cpus_allowed=0"
	return []load{
		{"4 KiB random, depth 1", "IO/s", operations("--rw=randwrite", "--bs=4k", "--iodepth=1")},
		{"depth 1 on one processor", "IO/s", operations("--rw=randwrite", "--bs=4k", "--iodepth=1", bound)},
		{"4 KiB random, depth 32", "IO/s", operations("--rw=randwrite", "--bs=4k", "--iodepth=32")},
		{"depth 32 on one processor", "IO/s", operations("--rw=randwrite", "--bs=4k", "--iodepth=32", bound)},
		{"64 KiB random, depth 8", "IO/s", operations("--rw=randwrite", "--bs=64k", "--iodepth=8")},
		{"1 MiB sequential, depth 4", "IO/s", operations("--rw=write", "--bs=1m", "--iodepth=4")},
	}
}

// pgbenchScale makes a database of some 75 MiB.
const pgbenchScale = 5

var transactions = regexp.MustCompile(`tps = ([0-9.]+) \(without`)

// pgbench runs PostgreSQL on the file system until the benchmark ends, and gives its load; none where there is no PostgreSQL.
func pgbench(a *agentBench) []load {
	a.Helper()
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil || len(found) == 0 {
		a.Log("SKIPPED: pgbench: no /usr/lib/postgresql/*/bin/initdb; install the package postgresql")
		return nil
	}
	bin := filepath.Dir(slices.Max(found))
	folder := filepath.Join(a.dir, "postgres")
	owner := postgresOwner(a.B, folder)
	if owner == nil {
		return nil
	}
	data := filepath.Join(folder, "data")
	run := func(name string, args ...string) string {
		a.Helper()
		c := a.command(exec.CommandContext(a.Context(), filepath.Join(bin, name), args...))
		c.Dir, c.SysProcAttr = folder, &syscall.SysProcAttr{Credential: owner}
		out, err := c.CombinedOutput()
		if err != nil {
			a.Fatalf("%s %v: %v\n%s", name, args, err, out)
		}
		return string(out)
	}
	run("initdb", "-D", data, "-U", "bench", "-A", "trust", "-E", "UTF8")
	server := a.command(exec.CommandContext(context.WithoutCancel(a.Context()), filepath.Join(bin, "postgres"), "-D", data, "-c", "listen_addresses=", "-c", "unix_socket_directories="+folder))
	server.Dir, server.SysProcAttr = folder, &syscall.SysProcAttr{Credential: owner, Pdeathsig: syscall.SIGQUIT}
	if err := server.Start(); err != nil {
		a.Fatal(err)
	}
	a.Cleanup(func() {
		if err := errors.Join(server.Process.Signal(syscall.SIGINT), server.Wait()); err != nil {
			a.Errorf("PostgreSQL ended badly: %v", err)
		}
	})
	awaitPostgres(a.B, filepath.Join(bin, "pg_isready"), folder)
	run("pgbench", "-h", folder, "-U", "bench", "-i", "-q", "-s", strconv.Itoa(pgbenchScale), "postgres")
	clients := func(n string) func(*agentBench) float64 {
		return func(a *agentBench) float64 {
			out := run("pgbench", "-h", folder, "-U", "bench", "-n", "-c", n, "-T", strconv.Itoa(int(runFor.Seconds())), "postgres")
			m := transactions.FindStringSubmatch(out)
			if m == nil {
				a.Fatalf("pgbench says\n%s", out)
			}
			tps, err := strconv.ParseFloat(m[1], 64)
			if err != nil {
				a.Fatal(err)
			}
			return tps
		}
	}
	// One client leaves a processor to the agent, four leave none.
	return []load{{"pgbench, 1 client", "tps", clients("1")}, {"pgbench, 4 clients", "tps", clients("4")}}
}

// postgresOwner makes the folder and gives it to the user that PostgreSQL must run as, who must be able to pass through.
func postgresOwner(b *testing.B, folder string) *syscall.Credential {
	b.Helper()
	u, err := user.Lookup("postgres")
	if err != nil {
		b.Logf("SKIPPED: pgbench: PostgreSQL does not run as root and there is no user postgres: %v", err)
		return nil
	}
	uid, errUID := strconv.Atoi(u.Uid)
	gid, errGID := strconv.Atoi(u.Gid)
	if err := errors.Join(errUID, errGID, os.Mkdir(folder, 0o700), os.Chown(folder, uid, gid)); err != nil {
		b.Fatal(err)
	}
	for at := filepath.Dir(folder); strings.Contains(at, "farshore-test-"); at = filepath.Dir(at) {
		if err := os.Chmod(at, 0o711); err != nil {
			b.Fatal(err)
		}
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

func awaitPostgres(b *testing.B, ready, folder string) {
	b.Helper()
	look := time.NewTicker(100 * time.Millisecond)
	defer look.Stop()
	for range 600 {
		if exec.CommandContext(b.Context(), ready, "-h", folder, "-U", "bench").Run() == nil {
			return
		}
		<-look.C
	}
	b.Fatal("PostgreSQL did not start")
}
