package profile_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"farshore"
	"farshore/cmd/farshore/profile"
	"farshore/dataplane/credential/credentialtest"
	"farshore/fault"
)

func TestASavedProfileIsLoaded(t *testing.T) {
	ca, dir := credentialtest.NewCA(t), t.TempDir()
	ca.NodeIn(t, dir, farshore.RoleOperator, "alice")
	if err := profile.Save(dir, " control.example.org:443\n"); err != nil {
		t.Fatal(err)
	}
	p, err := profile.Load(dir, time.Now)
	if err != nil || p.Address != "control.example.org:443" {
		t.Fatalf("Load = %+v, %v", p, err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, ".*")); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestWhatIsNoOperatorsProfileIsRefused(t *testing.T) {
	ca := credentialtest.NewCA(t)
	rows := []struct {
		name string
		make func(t *testing.T, dir string)
	}{
		{"an empty folder", func(*testing.T, string) {}},
		{"an address without identity", func(t *testing.T, dir string) { save(t, dir) }},
		{"an identity without address", func(t *testing.T, dir string) { ca.NodeIn(t, dir, farshore.RoleOperator, "alice") }},
		{"an agent's identity", func(t *testing.T, dir string) {
			ca.NodeIn(t, dir, farshore.RoleAgent, "web-01")
			save(t, dir)
		}},
		{"an address without port", func(t *testing.T, dir string) {
			ca.NodeIn(t, dir, farshore.RoleOperator, "alice")
			if err := os.WriteFile(filepath.Join(dir, profile.AddressFile), []byte("control\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			dir := t.TempDir()
			r.make(t, dir)
			_, err := profile.Load(dir, time.Now)
			if f, ok := fault.As(err); !ok || f.Code != "FS-9003" || f.Remedy == "" {
				t.Errorf("Load: %v, want FS-9003 with a remedy", err)
			}
		})
	}
}

func TestAnAddressNeedsHostAndPort(t *testing.T) {
	for _, address := range []string{"", "control", ":443", "control:", "a:b:c"} {
		if err := profile.Save(t.TempDir(), address); err == nil {
			t.Errorf("Save takes %q", address)
		}
	}
}

func save(t *testing.T, dir string) {
	t.Helper()
	if err := profile.Save(dir, "127.0.0.1:8443"); err != nil {
		t.Fatal(err)
	}
}
