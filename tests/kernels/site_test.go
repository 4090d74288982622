package kernels

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"farshore"
	"farshore/dataplane/block"
	"farshore/dataplane/credential/credentialtest"
	"farshore/dataplane/hub"
	"farshore/dataplane/journal"
	"farshore/dataplane/vault"
	"farshore/dataplane/vault/connect"
	"farshore/tests/lab/need"
	"farshore/tests/lab/process"
	"farshore/tests/lab/qemu"
)

// guestName is the replicated machine; gateway is this host, as it sees it.
const (
	guestName = "guest-01"
	gateway   = "10.0.2.2"
)

// site is a vault, a process server and an applier on this host, and what the agent of a guest needs to find them: the real programs,
// with the desired documents that a configuration server would have sent.
type site struct {
	*testing.T
	dir    string
	reader journal.Reader
	server *process.Process // the process server
	port   int
	state  string // the folder that becomes the agent's
}

// newSite has the disks protected that have these serial numbers.
func newSite(t *testing.T, pointsEverySeconds int, serials ...string) *site {
	t.Helper()
	if err := need.Root("a machine under protection"); err != nil {
		t.Skipf("SKIPPED: %v", err)
	}
	if err := need.Programs("a machine under protection", "mkfs.ext4", "e2fsck"); err != nil {
		t.Skipf("SKIPPED: %v", err)
	}
	s := &site{T: t, dir: t.TempDir()}
	disks, err := json.Marshal(names(serials))
	if err != nil {
		t.Fatal(err)
	}
	s.state = s.path("agent")
	ca := credentialtest.NewCA(t)
	store, _, err := connect.Create(t.Context(), vault.Config{Kind: vault.KindFile, Path: s.path("vault")})
	if err != nil {
		t.Fatal(err)
	}
	certificate, key := ca.Authority()
	about, keys, err := vault.Init(t.Context(), store, vault.Authority{Certificate: certificate, Key: key}, time.Now())
	if err == nil {
		err = errors.Join(keys[0].WriteFile(s.path("vault.key")), os.Mkdir(s.state, 0o700), os.Mkdir(s.path("server"), 0o700))
	}
	if err != nil {
		t.Fatal(err)
	}
	id, err := about.ID()
	if err != nil {
		t.Fatal(err)
	}
	s.reader = journal.Reader{Store: store, Vault: id, Roots: ca.Roots(t), Keys: vault.KeyRing{keys[0]}}
	ca.NodeIn(t, s.state, farshore.RoleAgent, guestName)
	ca.NodeIn(t, s.path("server"), farshore.RoleProcessServer, "hq-1")
	if s.port, err = process.FreePort(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.write("agent/"+hub.DesiredFile, fmt.Sprintf(`{"version": {"incarnation": "1", "number": "1"}, "agent": {"protect": true,
		"disks": %s, "processServers": ["%s:%d"], "crashEverySeconds": %d}}`, disks, gateway, s.port, pointsEverySeconds))
	s.write("server/"+hub.DesiredFile, fmt.Sprintf(`{"version": {"incarnation": "1", "number": "1"}, "processServer": {"machines": [%q]}}`, guestName))
	s.write("server.yaml", fmt.Sprintf("control: 127.0.0.1:1\nstate: %s\nlisten: 127.0.0.1:%d\ncache: {path: %s, bytes: 1073741824}\n"+
		"segment: {ageSeconds: 2}\nvault: {kind: file, path: %s}\n", s.path("server"), s.port, s.path("cache"), s.path("vault")))
	s.write("agent.yaml", "control: "+gateway+":1\nstate: /state\nwindowMiB: 256\n")
	dataplane := program(t, qemu.AMD64, "farshore/cmd/farshore-dataplane")
	s.startApplier(ca, dataplane)
	s.server, err = process.Start(t.Context(), process.Spec{
		Name: "process server", LogPath: s.path("server.log"),
		Command: []string{dataplane, "process-server", "--config", s.path("server.yaml")},
		Ready: func(ctx context.Context) error {
			conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", s.port))
			if err == nil {
				err = conn.Close()
			}
			return err
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.server.Stop)
	return s
}

// names are what the agent calls disks of these serial numbers.
func names(serials []string) (ids []farshore.DiskID) {
	for _, serial := range serials {
		ids = append(ids, farshore.DiskID("serial-"+serial))
	}
	return ids
}

// startApplier keeps a replica, which offers its hashes to an agent that does not know what was written.
func (s *site) startApplier(ca *credentialtest.CA, dataplane string) {
	s.Helper()
	if err := os.Mkdir(s.path("applier"), 0o700); err != nil {
		s.Fatal(err)
	}
	ca.NodeIn(s.T, s.path("applier"), farshore.RoleApplier, "west-1")
	s.write("applier/"+hub.DesiredFile, fmt.Sprintf(`{"version": {"incarnation": "1", "number": "1"}, "applier": {"machines": [%q]}}`, guestName))
	s.write("applier.yaml", fmt.Sprintf("control: 127.0.0.1:1\nstate: %s\nkeyFile: %s\npollSeconds: 1\nvault: {kind: file, path: %s}\n",
		s.path("applier"), s.path("vault.key"), s.path("vault")))
	applier, err := process.Start(s.Context(), process.Spec{
		Name: "applier", LogPath: s.path("applier.log"), Command: []string{dataplane, "applier", "--config", s.path("applier.yaml")},
	})
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(applier.Stop)
}

func (s *site) path(parts ...string) string {
	return filepath.Join(append([]string{s.dir}, parts...)...)
}

func (s *site) write(name, content string) {
	s.Helper()
	if err := os.WriteFile(s.path(name), []byte(content), 0o600); err != nil {
		s.Fatal(err)
	}
}

// ext4 makes an image with the content of a folder, or an empty one.
func (s *site) ext4(name string, bytes int64, from string) string {
	s.Helper()
	path := image(s.T, s.dir, name, bytes)
	args := []string{"-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0"}
	if from != "" {
		args = append(args, "-d", from)
	}
	if _, err := need.Run(s.Context(), "mkfs.ext4", append(args, path)...); err != nil {
		s.Fatal(err)
	}
	return path
}

// restore runs the real farshore-restore with nothing but the vault and its key.
func (s *site) restore(program string, args ...string) []byte {
	s.Helper()
	c := exec.CommandContext(s.Context(), program, append(args, "--vault-path", s.path("vault"), "--key", s.path("vault.key"))...)
	var said bytes.Buffer
	c.Stderr = &said
	out, err := c.Output()
	if err != nil {
		s.Fatalf("farshore-restore %v: %v\n%s", args, err, said.String())
	}
	return out
}

// points lists the guest's recovery points, oldest first; none before there is a stream.
func (s *site) points(program string) []farshore.RecoveryPoint {
	s.Helper()
	if found, err := filepath.Glob(s.path("vault", "*", "v1", "m", guestName)); err != nil || len(found) == 0 {
		return nil
	}
	var points []farshore.RecoveryPoint
	if err := json.Unmarshal(s.restore(program, "points", guestName, "-o", "json"), &points); err != nil {
		s.Fatal(err)
	}
	return points
}

// unspecified gives what the stream leaves open at a point: free space, and what was discarded.
func (s *site) unspecified(at farshore.Position) *block.Set {
	s.Helper()
	open := &block.Set{}
	for part, err := range s.reader.Follow(s.Context(), s.reader.Start(guestName, at.Generation)) {
		if err != nil {
			s.Fatal(err)
		}
		for record, err := range part.Records() {
			switch {
			case err != nil:
				s.Fatal(err)
			case record.Kind == block.Unspecified:
				open.Add(record.Extent)
			default:
				open.Remove(record.Extent)
			}
		}
		if part.Header().Position() == at {
			return open
		}
	}
	s.Fatalf("the stream does not come to %v", at)
	return nil
}
