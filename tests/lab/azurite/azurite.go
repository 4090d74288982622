package azurite

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed" // the pinned packages
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"farshore/tests/lab/need"
	"farshore/tests/lab/process"
)

// Account and Key are the storage account that every Azurite has; the key is public (Azurite's documentation).
const (
	Account = "devstoreaccount1"
	Key     = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)

const (
	// startTimeout is how long the server may take until it answers: two seconds of processor time, on shared cores.
	startTimeout = 2 * time.Minute
	// requestTimeout bounds one request that asks whether it answers.
	requestTimeout = 5 * time.Second
)

//go:embed package.json
var packageJSON []byte

//go:embed package-lock.json
var packageLock []byte

// Missing says what is missing here to install and run Azurite; nil means nothing is.
func Missing() error { return need.Programs("the lab's blob server", "node", "npm") }

// Install brings Azurite into the lab's cache unless it is there, and gives the path of its blob service.
func Install(ctx context.Context) (program string, err error) {
	if err := Missing(); err != nil {
		return "", err
	}
	cache, err := need.Cache()
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(append(bytes.Clone(packageJSON), packageLock...))
	dir := filepath.Join(cache, "azurite", hex.EncodeToString(sum[:6]))
	program = filepath.Join(dir, "node_modules", "azurite", "dist", "src", "blob", "main.js")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("install azurite: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return "", fmt.Errorf("install azurite: %w", err)
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return "", fmt.Errorf("install azurite: %w", err)
	}
	done := filepath.Join(dir, "installed") // npm leaves a half-filled tree behind when it is interrupted
	if _, err := os.Stat(done); err == nil {
		return program, nil
	}
	for name, content := range map[string][]byte{"package.json": packageJSON, "package-lock.json": packageLock} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			return "", fmt.Errorf("install azurite: %w", err)
		}
	}
	if _, err := need.Run(ctx, "npm", "ci", "--prefix", dir, "--no-audit", "--no-fund", "--ignore-scripts", "--omit=dev"); err != nil {
		return "", err
	}
	if err := os.WriteFile(done, nil, 0o644); err != nil {
		return "", fmt.Errorf("install azurite: %w", err)
	}
	return program, nil
}

// Options say where a server keeps its data and listens.
type Options struct {
	Dir  string // its data and its log; made if it is missing
	Port int    // on loopback; 0 means a free one, which a restart keeps
}

// Server is a running Azurite.
type Server struct {
	Endpoint string // of the account's blob service, as SDKs take it: "http://127.0.0.1:PORT/devstoreaccount1"
	Account  string
	Key      string
	port     int
	child    *process.Process
}

// Start installs Azurite if need be, runs it, and returns when it answers. Stop or Kill must be called in the end.
func Start(ctx context.Context, o Options) (*Server, error) {
	program, err := Install(ctx)
	if err != nil {
		return nil, err
	}
	if o.Port == 0 {
		if o.Port, err = process.FreePort(ctx); err != nil {
			return nil, err
		}
	}
	if err := os.MkdirAll(o.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("start azurite: %w", err)
	}
	s := &Server{
		Endpoint: fmt.Sprintf("http://127.0.0.1:%d/%s", o.Port, Account), Account: Account, Key: Key, port: o.Port,
	}
	s.child, err = process.Start(ctx, process.Spec{
		Name: "azurite",
		Command: []string{
			"node", program, "--blobHost", "127.0.0.1", "--blobPort", strconv.Itoa(o.Port), "--location", o.Dir,
			"--skipApiVersionCheck", "--disableTelemetry", "--silent",
		},
		LogPath: filepath.Join(o.Dir, "azurite.log"), Ready: s.ready, ReadyTimeout: startTimeout,
	})
	if err != nil {
		return nil, fmt.Errorf("start azurite: %w", err)
	}
	return s, nil
}

// ready is nil if the server answers an unsigned request by refusing it in the protocol's words.
func (s *Server) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.Endpoint+"?comp=list", nil)
	if err != nil {
		return fmt.Errorf("ask azurite: %w", err)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("ask azurite: %w", err)
	}
	if err := answer.Body.Close(); err != nil {
		return fmt.Errorf("ask azurite: %w", err)
	}
	if answer.Header.Get("x-ms-request-id") == "" {
		return fmt.Errorf("ask azurite: port %d answers %s, which is not a blob service", s.port, answer.Status)
	}
	return nil
}

// Stop ends the server in order: what it has acknowledged is on disk.
func (s *Server) Stop() { s.child.Stop() }

// Kill ends the server as a crash does: what it acknowledged in the last seconds is lost.
func (s *Server) Kill() { s.child.Kill() }

// Restart runs the server again, on the same directory and port, after Stop or Kill.
func (s *Server) Restart(ctx context.Context) error {
	if err := s.child.Start(ctx); err != nil {
		return fmt.Errorf("restart azurite: %w", err)
	}
	return nil
}

// Running says whether the server runs.
func (s *Server) Running() bool { return s.child.Running() }
