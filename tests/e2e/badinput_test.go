package e2e

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/tests/lab/need"
	"farshore/tests/lab/stack"
)

// bad is one thing that a person or a stranger may do wrong.
type bad struct {
	name    string
	command []string // program and arguments
	code    string   // of the fault
	exit    int
}

// fault is how every program says what is wrong and what to do.
var faultForm = regexp.MustCompile(`(?s)^.*\bFS-[0-9]{4}: .+: .+\n\s+remedy: .+`)

// bench is a running Farshore to do wrong to.
type bench struct {
	*stack.Stack
	dir string
}

func newBench(t *testing.T) *bench {
	t.Helper()
	if testing.Short() {
		t.Skip("SKIPPED: it takes a minute; run without -short")
	}
	root, err := need.Checkout()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(root, "bin", "farshore-temporal")); err != nil {
		t.Skip("SKIPPED: the programs are not built; run: make build")
	}
	b := &bench{dir: t.TempDir()}
	b.Stack, err = stack.Up(t.Context(), stack.Options{Dir: filepath.Join(b.dir, "farshore"), Machine: "web-01", FileVault: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

// file writes a file of the test and gives its path.
func (b *bench) file(name, content string) string {
	path := filepath.Join(b.dir, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		panic(err)
	}
	return path
}

// token makes a join token through the command line.
func (b *bench) token(t *testing.T, name string) *farshorev1.CreateJoinTokenResponse {
	t.Helper()
	token, err := b.Token(t.Context(), "agent", name)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func (b *bench) farshore(args ...string) []string { return append([]string{"farshore"}, args...) }

// join is an agent's way in, with one thing wrong.
func (b *bench) join(change func(map[string]string), good *farshorev1.CreateJoinTokenResponse, name string) []string {
	flags := map[string]string{
		"--control": fmt.Sprintf("127.0.0.1:%d", b.Ports.Control), "--token": good.GetToken(), "--ca-pin": good.GetCaPin(), "--name": name,
		"--state": filepath.Join(b.dir, "joining-"+name),
	}
	change(flags)
	command := []string{"farshore-agent", "join"}
	for _, f := range []string{"--control", "--token", "--ca-pin", "--name", "--state"} {
		command = append(command, f, flags[f])
	}
	return command
}

func (b *bench) rows(t *testing.T) []bad {
	t.Helper()
	good, other := b.token(t, "db-01"), b.token(t, "db-02")
	set := func(flag, value string) func(map[string]string) {
		return func(flags map[string]string) { flags[flag] = value }
	}
	farshore := filepath.Join(b.dir, "farshore")
	control, server := filepath.Join(farshore, "control.yaml"), filepath.Join(farshore, "process-server.yaml")
	vault := filepath.Join(farshore, "vault")
	loose := b.file("loose.key", "not a key")
	if err := os.Chmod(loose, 0o644); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(filepath.Join("..", "formats", "testdata", "segment-v1.fsj"))
	if err != nil {
		t.Fatal(err)
	}
	enable := []string{"machine", "enable", "web-01", "--location", "w", "--resource-group", "r", "--vm-size", "s", "--network", "n", "--subnet", "s"}
	return []bad{
		{"an unknown machine", b.farshore("machine", "show", "nobody"), "FS-6015", 11},
		{"an impossible name", b.farshore("machine", "show", "Bad_Name"), "FS-6001", 11},
		{"failover of an unknown machine", b.farshore("failover", "start", "nobody", "--yes"), "FS-6015", 11},
		{"an unknown verb", b.farshore("machine", "explode", "web-01"), "FS-9001", 2},
		{"a flag without its value", b.farshore("point", "list"), "FS-9001", 2},
		{"nobody there to say yes", b.farshore(enable...), "FS-6015", 11},
		{"a point that is none", b.farshore("failover", "test", "web-01", "--point", "yesterday-ish", "--yes"), "FS-9001", 2},
		{"an unknown run", b.farshore("run", "show", "nothing"), "FS-6016", 11},
		{"a role that is none", b.farshore("token", "create", "--role", "king", "--name", "x"), "FS-6014", 11},
		{"a token for an impossible name", b.farshore("token", "create", "--role", "agent", "--name", "Bad Name"), "FS-6001", 11},
		{"a profile that is not there", b.farshore("status", "--profile", filepath.Join(b.dir, "none")), "FS-9003", 1},

		{"a token that nobody made", b.join(set("--token", other.GetToken()[:len(other.GetToken())-4]+"AAAA"), good, "db-01"), "FS-6002", 11},
		{"a token that is none", b.join(set("--token", "sesame"), good, "db-01"), "FS-6002", 11},
		{"a token for somebody else", b.join(set("--token", other.GetToken()), good, "db-01"), "FS-6010", 11},
		{"a pin that is none", b.join(set("--ca-pin", "sha256:zz"), good, "db-01"), "FS-6003", 11},
		{"the pin of another vault", b.join(set("--ca-pin", "sha256:"+strings.Repeat("0", 64)), good, "db-01"), "FS-6004", 11},
		{"a server that is not there", b.join(set("--control", "127.0.0.1:1"), good, "db-01"), "FS-6005", 10},

		{"a configuration with an unknown key", []string{"farshore-dataplane", "process-server", "--config", b.file("ps.yaml", "control: a:1\ncolour: red\n")}, "FS-2101", 1},
		{"a configuration that is not there", []string{"farshore-dataplane", "applier", "--config", filepath.Join(b.dir, "none.yaml")}, "FS-2101", 1},
		{"a configuration without control", []string{"farshore-agent", "run", "--config", b.file("agent.yaml", "state: /nowhere\n")}, "FS-1101", 1},
		{"a configuration that is no YAML", []string{"farshore-control", "run", "--config", b.file("control.yaml", "listen: [\n")}, "FS-6020", 1},
		{"the API's port in use", []string{"farshore-control", "run", "--config", control}, "FS-6023", 1},
		{"9443 in use", []string{"farshore-dataplane", "process-server", "--config", server}, "FS-2102", 1},
		{"a vault begun twice", []string{"farshore-control", "init", "--config", control}, "FS-6021", 11},
		{"Temporal's file in use", []string{"farshore-temporal", "server", "--db", filepath.Join(farshore, "temporal", "temporal.db"), "--port", "0", "--ui-port", "0"}, "FS-8001", 1},

		{"no vault named", []string{"farshore-restore", "ls"}, "FS-9001", 2},
		{"a vault that is not there", []string{"farshore-restore", "ls", "--vault-path", filepath.Join(b.dir, "none")}, "FS-3006", 1},
		{"no such machine in the vault", []string{"farshore-restore", "points", "nobody", "--vault-path", vault}, "FS-3512", 11},
		{"a key that others can read", []string{"farshore-restore", "verify", "web-01", "--vault-path", vault, "--key", loose}, "FS-3007", 1},
		{"a key that is none", []string{"farshore-restore", "verify", "web-01", "--vault-path", vault, "--key", b.file("bad.key", "not a key")}, "FS-3007", 1},
		{"a truncated segment", []string{"farshore-restore", "inspect", b.file("short.fsj", string(whole[:len(whole)-40]))}, "FS-3510", 13},
		{"garbage for a segment", []string{"farshore-restore", "inspect", b.file("garbage.fsj", strings.Repeat("garbage!", 99))}, "FS-3518", 11},
	}
}

func TestEveryBadInputIsAClearFaultAndChangesNothing(t *testing.T) {
	b := newBench(t)
	rows := b.rows(t)
	before := b.state(t)
	for _, r := range rows {
		command := exec.CommandContext(t.Context(), filepath.Join(b.Bin, r.command[0]), r.command[1:]...)
		command.Env = append(os.Environ(), "FARSHORE_PROFILE="+b.Profile)
		var said bytes.Buffer
		command.Stderr = &said
		err := command.Run()
		var ended *exec.ExitError
		exit := 0
		if errors.As(err, &ended) {
			exit = ended.ExitCode()
		}
		text := said.String()
		if exit != r.exit || !strings.Contains(text, r.code+": ") || !faultForm.MatchString(text) || strings.Contains(text, "goroutine ") {
			t.Errorf("%s: want %s, exit %d; got exit %d and\n%s", r.name, r.code, r.exit, exit, text)
		}
	}
	if after := b.state(t); after != before {
		t.Errorf("something changed: before\n%s\nafter\n%s", before, after)
	}
	t.Logf("%d bad inputs, each a fault with a way out", len(rows))
}

// state is what the operator sees of nodes and machines, without the times that always change.
func (b *bench) state(t *testing.T) string {
	t.Helper()
	nodes, err := b.Nodes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, n := range nodes {
		lines = append(lines, n.GetRole()+"/"+n.GetName())
	}
	return strings.Join(lines, "\n")
}

// TestStrangersOnTheWireDisturbNobody sends what no node would send to both ports, then asks whether they still serve.
func TestStrangersOnTheWireDisturbNobody(t *testing.T) {
	b := newBench(t)
	for _, port := range []int{b.Ports.ProcessServer, b.Ports.Control} {
		address := fmt.Sprintf("127.0.0.1:%d", port)
		for _, greeting := range []string{"GET / HTTP/1.1\r\n\r\n", strings.Repeat("\x00", 4096), "\x16\x03\x01\xff\xff", ""} {
			conn, err := net.DialTimeout("tcp", address, time.Minute)
			if err != nil {
				t.Fatalf("%s does not listen any more: %v", address, err)
			}
			if _, err := conn.Write([]byte(greeting)); err != nil {
				t.Logf("%s hung up: %v", address, err)
			}
			conn.Close()
		}
		conn, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13, NextProtos: []string{"farshore-repl/1", "h2"}}) //nolint:gosec // a stranger
		if err == nil {
			one := make([]byte, 1)
			if err := conn.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
				t.Fatal(err)
			}
			if _, err = conn.Read(one); err == nil {
				t.Errorf("%s talks to somebody without a certificate", address)
			}
			conn.Close()
		}
	}
	if _, err := b.CLI(t.Context(), "status"); err != nil {
		t.Error(err)
	}
	if !b.Running(stack.ProcessServer) || !b.Running(stack.Control) {
		t.Error("a server is gone")
	}
}
