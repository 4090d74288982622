package main

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// postgres runs the database in /data/pg, with the programs of the file system mounted on /tools, and pgbench on it, until
// the power goes.
func postgres(t *testing.T) {
	for _, dir := range []string{"/tools/data", "/tools/tmp", "/tools/dev", "/tools/proc"} {
		if err := os.MkdirAll(dir, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	for from, to := range map[string]string{"/data": "/tools/data", "/tmp": "/tools/tmp", "/dev": "/tools/dev", "/proc": "/tools/proc"} {
		if err := unix.Mount(from, to, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			t.Fatal(err)
		}
	}
	uid := number(t, "PG_UID", 0)
	if err := os.Chmod("/tmp", 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("/tools/etc/passwd", fmt.Appendf(nil, "postgres:x:%d:%d::/tmp:/bin/false\n", uid, uid), 0o644); err != nil {
		t.Fatal(err)
	}
	server := tool(uid, "postgres", "-D", "/data/pg", "-k", "/tmp")
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	for tool(uid, "psql", "-h", "/tmp", "-c", "select 1", "bench").Run() != nil { // it recovers first
		if server.ProcessState != nil {
			t.Fatal("the database ended")
		}
		time.Sleep(200 * time.Millisecond)
	}
	report(t, "database", map[string]any{})
	if err := tool(uid, "pgbench", "-n", "-h", "/tmp", "-c", "4", "-T", "86400", "bench").Run(); err != nil {
		t.Fatal(err)
	}
}

// tool is a program of PostgreSQL's, as its own user.
func tool(uid int, name string, args ...string) *exec.Cmd {
	c := exec.Command("/usr/lib/postgresql/15/bin/"+name, args...)
	c.SysProcAttr = &syscall.SysProcAttr{Chroot: "/tools", Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
	c.Dir, c.Env = "/", []string{"PATH=/usr/bin:/bin", "PGUSER=postgres", "LC_ALL=C"}
	c.Stdout, c.Stderr = nil, os.Stderr
	return c
}
