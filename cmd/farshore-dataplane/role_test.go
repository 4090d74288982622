package main

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"farshore"
	"farshore/dataplane/proxy/proxytest"
	"farshore/tests/lab/process/processtest"
)

// ofRole is what one role takes besides the common part.
var ofRole = map[farshore.Role]string{
	farshore.RoleProcessServer: "listen: 127.0.0.1:9443\n",
	farshore.RoleApplier:       "keyFile: /k\nlanes: 2\n",
	farshore.RoleMasterTarget:  "keyFile: /k\nfolders: [/srv]\n",
	farshore.RoleCollector:     "everyMinutes: 5\n",
}

func read(path string, role farshore.Role) (NodeConfig, error) {
	switch role {
	case farshore.RoleProcessServer:
		return readAs(path, (*processServerConfig).complete, func(c *processServerConfig) NodeConfig { return c.NodeConfig })
	case farshore.RoleApplier:
		return readAs(path, (*applierConfig).complete, func(c *applierConfig) NodeConfig { return c.NodeConfig })
	case farshore.RoleMasterTarget:
		return readAs(path, (*masterTargetConfig).complete, func(c *masterTargetConfig) NodeConfig { return c.NodeConfig })
	case farshore.RoleCollector:
		return readAs(path, (*collectorConfig).complete, func(c *collectorConfig) NodeConfig { return c.NodeConfig })
	case farshore.RoleControl, farshore.RoleAgent, farshore.RoleOperator:
	}
	return NodeConfig{}, fmt.Errorf("%s is no role of the dataplane", role)
}

func readAs[C any](path string, complete func(*C, string) error, common func(*C) NodeConfig) (NodeConfig, error) {
	var c C
	if err := readConfig(path, &c); err != nil {
		return NodeConfig{}, err
	}
	err := complete(&c, path)
	return common(&c), err
}

func TestTheFilesOfAllRolesHaveTheSameCommonPart(t *testing.T) {
	s := newSite(t)
	password := proxytest.Start(t).Config(t).PasswordFile
	const common = "control: fs:443\nmetrics: 127.0.0.1:9100\nvault: {kind: file, path: /v}\n"
	for _, role := range roles {
		path := filepath.Join(t.TempDir(), "role.yaml")
		s.write(path, common+ofRole[role]+fmt.Sprintf("proxy: {url: 'http://p:3128', user: u, passwordFile: %s, direct: [fs]}\n", password))
		c, err := read(path, role)
		if err != nil || c.Control != "fs:443" || c.State != stateFolder(role) || c.Metrics != "127.0.0.1:9100" || c.Vault.Path != "/v" || c.Vault.Proxy == nil {
			t.Errorf("%s: %+v, %v", role, c, err)
		}
		for what, r := range map[string]struct{ text, words string }{
			"a key of no role":         {common + ofRole[role] + "colour: blue\n", `FS-2101: .*colour`},
			"no configuration server":  {strings.TrimPrefix(common, "control: fs:443\n") + ofRole[role], "FS-2101: .*control is missing"},
			"a proxy that cannot be":   {common + ofRole[role] + "proxy: {url: 'p:3128'}\n", "FS-2108: .*is not http"},
			"a key of the proxy twice": {common + ofRole[role] + "proxy: {url: 'http://p:1', URL: x}\n", "FS-2101: .*URL"},
		} {
			s.write(path, r.text)
			_, err := read(path, role)
			code, words, _ := strings.Cut(r.words, ".*")
			if err == nil || !strings.HasPrefix(err.Error(), code) || !strings.Contains(err.Error(), words) {
				t.Errorf("%s, %s: %v", role, what, err)
			}
		}
	}
}

func TestACollectorReachesTheConfigurationServerThroughItsProxy(t *testing.T) {
	s := newApplierSite(t)
	p := proxytest.Start(t)
	c := collectorConfig{NodeConfig: NodeConfig{Control: "127.0.0.1:1", State: t.TempDir(), Vault: s.config.Vault, Proxy: p.Config(t), Metrics: processtest.FreeAddress(t)}}
	if err := c.complete("test"); err != nil {
		t.Fatal(err)
	}
	s.ca.NodeIn(t, c.State, farshore.RoleCollector, "collector-1")
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- runCollector(ctx, c, slog.New(slog.DiscardHandler)) }()
	for tunnels := int64(0); tunnels == 0; tunnels, _, _ = p.Counts() {
		select {
		case err := <-ended:
			t.Fatalf("it ended: %v", err)
		case <-time.After(5 * time.Millisecond):
		}
	}
	cancel()
	if err := <-ended; err != nil { // the metrics port is closed with everything else
		t.Error(err)
	}
}
