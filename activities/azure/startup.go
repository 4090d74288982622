package azure

import (
	_ "embed"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"

	"farshore/dataplane/vault"
)

// startup is what cloud-init runs in a temporary process server.
//
//go:embed startup.sh
var startup string

// serverCacheBytes is what the cache of a process server has where there is room for it.
const serverCacheBytes = 16 << 30

// serverStart is what differs from one temporary process server to the next.
type serverStart struct {
	name, address string // address: of its network interface
	token, pin    string
}

// customData is the script of one process server, as a VM takes it. It holds the join token, which is of no use once it was
// used.
func (c *ProcessServerConfig) customData(s serverStart) (string, error) {
	config, err := c.document()
	if err != nil {
		return "", err
	}
	script := strings.NewReplacer(
		"@PROGRAM@", quote(c.Program), "@SHA256@", quote(c.SHA256), "@CONFIG@", config, "@OWN@", s.address,
		"@CACHE@", strconv.Itoa(serverCacheBytes), "@CONTROL@", quote(c.Control), "@TOKEN@", quote(s.token), "@PIN@", quote(s.pin), "@NAME@", quote(s.name),
	).Replace(startup)
	return base64.StdEncoding.EncodeToString([]byte(script)), nil
}

// document is the process server's configuration file. The script fills in what it knows only where it runs.
func (c *ProcessServerConfig) document() (string, error) {
	type cache struct {
		Path  string `yaml:"path"`
		Bytes int64  `yaml:"bytes"`
	}
	out, err := yaml.Marshal(struct {
		Control string       `yaml:"control"`
		State   string       `yaml:"state"`
		Listen  string       `yaml:"listen"`
		Address string       `yaml:"address"`
		Cache   cache        `yaml:"cache"`
		Vault   vault.Config `yaml:"vault"`
	}{
		Control: c.Control, State: "@ROOT@/var/lib/farshore/process-server", Listen: "@LISTEN@", Address: "@ADDRESS@",
		Cache: cache{Path: "@ROOT@/var/cache/farshore/process-server", Bytes: serverCacheBytes}, Vault: c.Vault,
	})
	if err != nil {
		return "", fmt.Errorf("write the configuration of a process server: %w", err)
	}
	return strings.TrimRight(string(out), "\n"), nil
}

// quote makes one word of a shell of a text.
func quote(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }
