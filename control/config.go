package control

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"

	"github.com/goccy/go-yaml"

	"farshore"
	"farshore/activities/azure"
	"farshore/activities/vsphere"
	"farshore/dataplane/vault"
	"farshore/fault"
	"farshore/workers"
)

// Config is the configuration file of farshore-control. Unknown keys are refused.
type Config struct {
	// Name is the server's own, as its certificate says it; empty: control.
	Name string `yaml:"name,omitempty"`
	// Listen is the host:port of the API and the hub.
	Listen string `yaml:"listen"`
	// Hosts are the host names and addresses by which browsers and curl reach the server. Farshore's programs need none.
	Hosts []string `yaml:"hosts,omitempty"`
	// State is the server's folder: its certificate, the CA, the nodes, the audit log.
	State string `yaml:"state"`
	// Metrics is the host:port of Prometheus metrics, over plain HTTP; empty: none.
	Metrics string       `yaml:"metrics,omitempty"`
	Vault   vault.Config `yaml:"vault"`
	// KeyVault enters the Azure Key Vault that wraps the vault key, for the commands that need one.
	KeyVault *vault.Credential `yaml:"keyVaultCredential,omitempty"`
	Temporal workers.Config    `yaml:"temporal"`
	Azure    AzureConfig       `yaml:"azure"`
	// VSphere names the vCenters that machines come home to; empty: none.
	VSphere vsphere.Config `yaml:"vsphere,omitempty"`
}

// AzureConfig is the section azure.
type AzureConfig struct {
	azure.Config `yaml:",inline"`
	Credential   azure.CredentialConfig `yaml:"credential"`
}

const (
	defaultName      = "control"
	defaultNamespace = "farshore"
)

// LoadConfig reads a configuration file. The error is a *fault.Fault (FS-6020) that names the line.
func LoadConfig(path string) (Config, error) {
	unusable := func(what, remedy string, err error) error {
		return &fault.Fault{Code: "FS-6020", Kind: fault.Operator, Subject: "configuration " + path, What: what, Remedy: remedy, Err: err}
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return Config{}, unusable("it cannot be read", "name it with --config; docs/operate/control.md shows one", err)
	}
	var c Config
	if err := yaml.NewDecoder(bytes.NewReader(content), yaml.Strict()).Decode(&c); err != nil && !errors.Is(err, io.EOF) {
		return Config{}, unusable(yaml.FormatError(err, false, true), "correct it; docs/operate/control.md lists every key", nil)
	}
	if c.Name == "" {
		c.Name = defaultName
	}
	if c.Temporal.Namespace == "" {
		c.Temporal.Namespace = defaultNamespace
	}
	if what := c.wrong(); what != "" {
		return Config{}, unusable(what, "correct it; docs/operate/control.md lists every key", nil)
	}
	if err := c.VSphere.Check(); err != nil {
		return Config{}, err
	}
	return c, c.Vault.Check()
}

// wrong says what is wrong with the file's values.
func (c Config) wrong() string {
	if _, err := farshore.ParseMachineID(c.Name); err != nil {
		return fmt.Sprintf("name %q: use a-z, 0-9 and '-'", c.Name)
	}
	for _, a := range []struct {
		key, value string
		needed     bool
	}{{"listen", c.Listen, true}, {"temporal.address", c.Temporal.Address, true}, {"metrics", c.Metrics, false}} {
		if a.value == "" && !a.needed {
			continue
		}
		if _, _, err := net.SplitHostPort(a.value); err != nil {
			return fmt.Sprintf("%s: %q is not host:port", a.key, a.value)
		}
	}
	if !filepath.IsAbs(c.State) {
		return fmt.Sprintf("state: %q is not an absolute path", c.State)
	}
	return ""
}

func (c Config) caDir() string       { return filepath.Join(c.State, "ca") }
func (c Config) identityDir() string { return filepath.Join(c.State, "identity") }
func (c Config) nodesFile() string   { return filepath.Join(c.State, "nodes.db") }

// AuditFile is where the audit log lies.
func (c Config) AuditFile() string { return filepath.Join(c.State, "audit.log") }

func (c Config) identity() farshore.Identity {
	return farshore.Identity{Role: farshore.RoleControl, Name: c.Name}
}
