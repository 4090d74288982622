package azure

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"farshore"
	"farshore/activities"
	"farshore/dataplane/vault"
	"farshore/fault"
	"farshore/tests/lab/armsim"
)

// roll is the authority over nodes, in memory: whoever got a token reports at once, unless it is mute. The real one, with a
// real process server, is in tests/e2e.
type roll struct {
	mu      sync.Mutex
	mute    bool
	tokens  int
	heard   map[string]time.Time
	retired []string
}

func (r *roll) JoinToken(_ context.Context, id farshore.Identity) (token, pin string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tokens++
	if !r.mute {
		r.heard[id.Name] = time.Now()
	}
	return fmt.Sprintf("fst_secret%d", r.tokens), "sha256:pin", nil
}

func (r *roll) Heard(id farshore.Identity) (address string, at time.Time, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	at, ok = r.heard[id.Name]
	return "10.1.0.4:9443", at, ok
}

func (r *roll) Retire(id farshore.Identity) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.retired = append(r.retired, id.Name)
	return nil
}

// newServerLab is a lab whose configuration says what temporary process servers are made of.
func newServerLab(t *testing.T) (*azureLab, *roll, activities.ProcessServerIn) {
	t.Helper()
	c := newCloud(t, activities.ReprotectRun)
	r := &roll{heard: map[string]time.Time{}}
	c.adapter.config.ProcessServer = &ProcessServerConfig{
		Program: "https://example.com/it's/farshore-dataplane", SHA256: "abc", Image: "Debian:debian-12:12-gen2:latest", Size: "Standard_D2s_v5",
		Control: "fs.example.com:443", Vault: vault.Config{Kind: vault.KindFile, Path: "/srv/vault"},
	}
	c.adapter.Enrols(r)
	return c, r, activities.ProcessServerIn{Place: c.place, Name: "temporary-1"}
}

func TestATemporaryProcessServerIsMadeOnceAndRemovedWithItsRun(t *testing.T) {
	c, r, in := newServerLab(t)
	before := c.server.Resources()
	first := must(c, activities.EnsureProcessServer, in)
	if first.Name != "temporary-1" || first.Address != "10.1.0.4:9443" || !strings.HasSuffix(first.VMID, c.place.Run.Resource("ps-vm")) {
		t.Errorf("got %+v", first)
	}
	script := c.running.On()[c.place.Run.Resource("ps-vm")].CustomData
	for _, part := range []string{"fst_secret1", "sha256:pin", `'https://example.com/it'\''s/farshore-dataplane'`, "path: /srv/vault", "--name 'temporary-1'", "10.1.0.4:9443"} {
		if !strings.Contains(script, part) {
			t.Errorf("its script does not hold %q:\n%s", part, script)
		}
	}
	if second := must(c, activities.EnsureProcessServer, in); second != first || r.tokens != 1 {
		t.Errorf("repeated: %+v with %d tokens", second, r.tokens)
	}
	var kinds []string
	for _, made := range must(c, activities.ListRun, c.place).Resources {
		kinds = append(kinds, made.Type)
	}
	if slices.ContainsFunc(kinds, func(k string) bool { return strings.Contains(k, "publicIP") }) {
		t.Errorf("made %v", kinds)
	}
	must(c, activities.DeleteRun, c.place)
	if left := c.server.Resources(); len(left) != len(before) || len(c.running.On()) != 0 || !slices.Equal(r.retired, []string{"temporary-1"}) {
		t.Errorf("left %v, running %v, retired %v", left, c.running.On(), r.retired)
	}
}

func TestWithoutAConfigurationThereIsNoTemporaryProcessServer(t *testing.T) {
	c := newCloud(t, activities.ReprotectRun)
	_, err := run(c, activities.EnsureProcessServer, activities.ProcessServerIn{Place: c.place, Name: "temporary-1"})
	if f, ok := fault.As(err); !ok || f.Code != "FS-5213" {
		t.Errorf("got %v", err)
	}
}

func TestAProcessServerThatCannotBeMadeStopsTheStep(t *testing.T) {
	c, r, in := newServerLab(t)
	r.mute = true
	c.server.Inject(armsim.Fault{Method: "PUT", Path: "/virtualMachines/", LateCode: "AllocationFailed"})
	for _, code := range []string{"FS-5102", "FS-5214"} { // what Azure said; then that there is a VM which failed
		_, err := run(c, activities.EnsureProcessServer, in)
		if f, ok := fault.As(err); !ok || f.Code != code || f.Kind != fault.Operator {
			t.Errorf("got %v, want %s", err, code)
		}
	}
	must(c, activities.DeleteRun, c.place)
}

func TestAServerWhoseVMWasNeverMadeIsRetiredWithItsRun(t *testing.T) {
	c, r, in := newServerLab(t)
	c.server.Inject(armsim.Fault{Method: "PUT", Path: "/virtualMachines/", Status: 409, Code: "SkuNotAvailable"})
	if _, err := run(c, activities.EnsureProcessServer, in); err == nil || r.tokens != 1 {
		t.Fatalf("got %v with %d tokens, want a VM that is refused once there is a token for it", err, r.tokens)
	}
	must(c, activities.DeleteRun, c.place)
	if !slices.Equal(r.retired, []string{in.Name}) {
		t.Errorf("retired %v", r.retired)
	}
}
