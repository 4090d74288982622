package temporald

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"farshore/tests/lab/need"
	"farshore/tests/lab/process"
)

// Namespace is the one that the server has.
const Namespace = "farshore"

const host = "127.0.0.1:"

// Server is a running server. It ends with its test.
type Server struct {
	t       *testing.T
	program string
	db      string
	port    string
	command *exec.Cmd
}

// Start starts a server with an empty database.
func Start(t *testing.T) *Server {
	t.Helper()
	root, err := need.Checkout()
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{t: t, program: filepath.Join(root, "bin", "farshore-temporal"), db: filepath.Join(t.TempDir(), "temporal.db")}
	if _, err := os.Stat(s.program); err != nil {
		t.Skipf("SKIPPED, NOT PROVEN: %s is missing; run: make build", s.program)
	}
	port, err := process.FreePort(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.port = strconv.Itoa(port)
	s.start()
	t.Cleanup(s.kill)
	return s
}

// Address is the host:port of the frontend.
func (s *Server) Address() string { return host + s.port }

// Restart ends the server as a power cut would, and starts it on what is left.
func (s *Server) Restart() {
	s.t.Helper()
	s.kill()
	s.start()
}

func (s *Server) start() {
	s.t.Helper()
	s.command = exec.Command(s.program, "server", "--db", s.db, "--port", s.port, "--headless") //nolint:noctx // kill ends it
	s.command.Stderr = os.Stderr
	out, err := s.command.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := s.command.Start(); err != nil {
		s.t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || !strings.Contains(line, "frontend="+s.Address()) {
		s.kill()
		s.t.Fatalf("the server said %q, %v", line, err)
	}
}

func (s *Server) kill() {
	if err := s.command.Process.Kill(); err != nil {
		return // it has ended
	}
	if err := s.command.Wait(); err == nil {
		s.t.Error("the Temporal server ended by itself")
	}
}
