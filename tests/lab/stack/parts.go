package stack

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"

	"farshore/tests/lab/armsim"
	"farshore/tests/lab/azurite"
	"farshore/tests/lab/process"
)

// What the lab's subscription is called.
const (
	Location      = "lab-west"
	ResourceGroup = "recovery"
	Network       = "recovery-net"
	Subnet        = "default"
	VMSize        = "Standard_D2s_v5"
	subscription  = "11111111-2222-3333-4444-555555555555"
	account       = "/subscriptions/" + subscription + "/resourceGroups/" + ResourceGroup + "/providers/Microsoft.Storage/storageAccounts/devstoreaccount1"
)

// NetworkID is the resource id of the network that machines are recovered to.
const NetworkID = "/subscriptions/" + subscription + "/resourceGroups/" + ResourceGroup + "/providers/Microsoft.Network/virtualNetworks/" + Network

// startVault starts Azurite, if the vault is to be there, and writes down how to reach the vault.
func (s *Stack) startVault(ctx context.Context) error {
	if s.FileVault {
		return nil
	}
	var err error
	if s.Azurite, err = azurite.Start(ctx, azurite.Options{Dir: s.path("azurite"), Port: s.Ports.Azurite}); err != nil {
		return err
	}
	return os.WriteFile(s.path("account.key"), []byte(s.Azurite.Key), 0o600)
}

// vaultSection is the section `vault` of every configuration file.
func (s *Stack) vaultSection() string {
	if s.FileVault {
		return fmt.Sprintf("vault:\n  kind: file\n  path: %s\n", s.path("vault"))
	}
	return fmt.Sprintf("vault:\n  kind: azblob\n  endpoint: %s\n  account: %s\n  credential:\n    kind: shared-key\n    keyFile: %s\n",
		s.Azurite.Endpoint, s.Azurite.Account, s.path("account.key"))
}

// VaultFlags are what farshore-restore needs to read the vault.
func (s *Stack) VaultFlags() []string {
	flags := []string{"--key", s.path("keys", "vault.key")}
	if s.FileVault {
		return append(flags, "--vault-path", s.path("vault"))
	}
	return append(flags, "--vault-endpoint", s.Azurite.Endpoint, "--vault-account", s.Azurite.Account, "--vault-account-key-file", s.path("account.key"))
}

// startARM serves the lab's resource manager, with the group and the network that a customer has before a disaster.
func (s *Stack) startARM(ctx context.Context) error {
	hypervisor := s.Hypervisor
	if hypervisor == nil {
		hypervisor = &armsim.Switchboard{}
	}
	if s.Temporary {
		s.Servers = &armsim.Startups{Others: hypervisor, Dir: s.path("vms"), Host: "127.0.0.1"}
		hypervisor = s.Servers
	}
	var blobs armsim.Blobs = armsim.FileBlobs{}
	if s.Azurite != nil {
		var err error
		if blobs, err = armsim.NewSharedKeyBlobs(s.Azurite.Account, s.Azurite.Key); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(s.path("disks"), 0o755); err != nil {
		return err
	}
	s.ARM = armsim.New(context.WithoutCancel(ctx), armsim.Options{Blobs: blobs, Hypervisor: hypervisor, DiskDir: s.path("disks")})
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", s.Ports.ARM))
	if err != nil {
		return err
	}
	s.front = &http.Server{Handler: s.ARM, ReadHeaderTimeout: time.Minute}
	go s.front.Serve(listener) //nolint:errcheck // ends with Close
	s.ARM.Furnish(armsim.Furnishing{Subscription: subscription, Group: ResourceGroup, Location: Location, Network: Network, Subnet: Subnet})
	return nil
}

func (s *Stack) startTemporal(ctx context.Context) error {
	return s.run(ctx, process.Spec{
		Name: Temporal, ReadyTimeout: 5 * time.Minute, Ready: s.logHolds(Temporal, "farshore-temporal: ready"),
		Command: []string{
			s.program("farshore-temporal"), "server", "--db", s.path("temporal", "temporal.db"), "--ip", "127.0.0.1",
			"--port", fmt.Sprint(s.Ports.Temporal), "--ui-port", fmt.Sprint(s.Ports.TemporalUI), "--namespace", "farshore",
		},
	})
}

func (s *Stack) startProcessServer(ctx context.Context) error {
	address := fmt.Sprintf("127.0.0.1:%d", s.Ports.ProcessServer)
	config := fmt.Sprintf("control: %s\nstate: %s\nlisten: %s\naddress: %s\ncache:\n  path: %s\n  bytes: %d\nsegment:\n  ageSeconds: 2\n%s",
		s.control(), s.path("process-server"), address, s.Reached(s.Ports.ProcessServer), s.path("cache"), 1<<30, s.vaultSection())
	if err := s.join(ctx, "farshore-dataplane", "process-server", "hq-1"); err != nil {
		return err
	}
	return s.run(ctx, process.Spec{
		Name: ProcessServer, Ready: accepts(address),
		Command: []string{s.program("farshore-dataplane"), "process-server", "--config", s.write("process-server.yaml", config)},
	})
}

func (s *Stack) startApplier(ctx context.Context) error {
	config := fmt.Sprintf("control: %s\nstate: %s\nkeyFile: %s\npollSeconds: 1\n%s", s.control(), s.path("applier"), s.path("keys", "vault.key"), s.vaultSection())
	if err := s.join(ctx, "farshore-dataplane", "applier", "west-1"); err != nil {
		return err
	}
	return s.run(ctx, process.Spec{
		Name:    Applier,
		Command: []string{s.program("farshore-dataplane"), "applier", "--config", s.write("applier.yaml", config)},
	})
}

// run starts a program of the stack and remembers it.
func (s *Stack) run(ctx context.Context, spec process.Spec) error {
	spec.LogPath = s.LogPath(spec.Name)
	p, err := process.Start(ctx, spec)
	if err != nil {
		return err
	}
	s.running[spec.Name] = p
	return nil
}

// LogPath is the log file of a program.
func (s *Stack) LogPath(name string) string { return s.path("logs", name+".log") }

// write makes a configuration file. An error shows when the program reads it.
func (s *Stack) write(name, content string) string {
	path := s.path(name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		s.Say(err.Error())
	}
	return path
}

// control is the address of the configuration server.
func (s *Stack) control() string { return fmt.Sprintf("127.0.0.1:%d", s.Ports.Control) }

// Reached is where the replicated machine finds what listens on a port of this host.
func (s *Stack) Reached(port int) string {
	return net.JoinHostPort(cmp.Or(s.Host, "127.0.0.1"), strconv.Itoa(port))
}

// logHolds is ready when the program has said something since its last start; each start says it anew.
func (s *Stack) logHolds(name, words string) func(context.Context) error {
	seen := 0
	return func(context.Context) error {
		log, err := os.ReadFile(s.LogPath(name))
		if err != nil {
			return err
		}
		if n := bytes.Count(log, []byte(words)); n > seen {
			seen = n
			return nil
		}
		return fmt.Errorf("it has not said %q", words)
	}
}

// accepts is ready when something accepts connections at the address.
func accepts(address string) func(context.Context) error {
	return func(ctx context.Context) error {
		var dialer net.Dialer
		conn, err := dialer.DialContext(ctx, "tcp", address)
		if err != nil {
			return err
		}
		return conn.Close()
	}
}

// answersTLS is ready when the address shakes hands, whoever it says it is.
func answersTLS(address string) func(context.Context) error {
	return func(ctx context.Context) error {
		dialer := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13}} //nolint:gosec // only asked whether it is there
		conn, err := dialer.DialContext(ctx, "tcp", address)
		if err != nil {
			return errors.Join(errors.New("it does not shake hands"), err)
		}
		return conn.Close()
	}
}
