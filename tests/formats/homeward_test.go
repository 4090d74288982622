package formats

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"farshore"
	"farshore/dataplane/journal"
)

// turnBySpec is what claims.py prints, as far as it is looked at.
type turnBySpec struct {
	GoesOn     string   `json:"goesOn"`
	HandedOver []string `json:"handedOver"`
}

func script(t *testing.T, into any, args ...string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), python(t), args...).Output()
	if err == nil {
		err = json.Unmarshal(out, into)
	}
	if err != nil {
		t.Fatalf("%v: %v: %s", args, err, out)
	}
}

// homecoming is a machine of several bodies that go on with one stream.
type homecoming struct {
	*streamWriter
	control journal.Deps
	session map[string]uint64
}

func (h *homecoming) ticket(instance string) journal.Ticket {
	return journal.Ticket{
		Machine: "web-01", Server: "hq-1", Session: h.session[instance] + 1, Instance: instance, Capture: "capture-1", BootID: "boot-1", Time: time.Now().UTC(),
	}
}

// happen does something that a failover or the way home may do. What is refused is nobody's loss.
func (h *homecoming) happen(rnd *rand.Rand, bodies []string) string {
	body := bodies[rnd.IntN(len(bodies))]
	var err error
	what := ""
	switch rnd.IntN(5) {
	case 0:
		what = "fence"
		_, err = journal.Fence(h.t.Context(), h.control, "web-01")
	case 1:
		what = "unfence"
		err = journal.Unfence(h.t.Context(), h.control, "web-01")
	case 2:
		what = "release to " + body
		_, err = journal.ReleaseTo(h.t.Context(), h.control, "web-01", body)
	default:
		what = "claim by " + body
		var signed journal.Signed
		if signed, err = journal.SignTicket(h.ca.Node(h.t, farshore.RoleAgent, "web-01"), h.ticket(body)); err == nil {
			_, _, err = journal.Claim(h.t.Context(), h.deps, signed)
		}
		if err == nil {
			h.session[body]++
		}
	}
	return fmt.Sprintf("%s: %v", what, err)
}

// Whoever reads claim.md alone knows after each step of a failover or the way home whose turn it is, and who has handed over.
func TestAReaderWrittenFromTheSpecificationsAloneKnowsTheHeir(t *testing.T) {
	w, dir, _, _ := beginStream(t)
	h := &homecoming{streamWriter: w, session: map[string]uint64{}}
	h.deps = w.as(farshore.RoleProcessServer, "hq-1")
	h.control = w.as(farshore.RoleControl, "control")
	w.claim(1, "hq-1")
	h.session["instance-1"] = 1
	bodies := []string{"instance-1", "vm", "home"}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	var story []string
	turns := map[string]bool{}
	for range 9 {
		story = append(story, h.happen(rnd, bodies))
		var said turnBySpec
		script(t, &said, "claims.py", dir, "web-01")
		var may []string
		for _, body := range bodies {
			if journal.May(t.Context(), h.deps, h.ticket(body)) == nil {
				may = append(may, body)
			}
		}
		if want := slices.DeleteFunc([]string{said.GoesOn}, func(s string) bool { return s == "" }); !slices.Equal(may, want) {
			t.Fatalf("%v may go on, by the specification it is %v; %v", may, want, story)
		}
		turns[said.GoesOn] = true
		for _, body := range said.HandedOver {
			fresh := h.ticket(body)
			if fresh.NewGeneration = true; journal.May(t.Context(), h.deps, fresh) == nil {
				t.Fatalf("%s has handed over, and may begin anew; %v", body, story)
			}
		}
	}
	t.Logf("turns of %d, %v", len(turns), story)
}

// What a master target keeps can be read by its specification, and a bit that turned over is noticed.
func TestAReaderWrittenFromTheSpecificationsAloneReadsTheStateOfASink(t *testing.T) {
	var said struct {
		Sink struct {
			Path, Name, State, Signature string
			Sectors                      uint64
		} `json:"sink-v1.json"`
		Known struct {
			Granules int
			Known    []int
		} `json:"sink-known-v1.bin"`
	}
	files := []string{filepath.Join("testdata", "sink-v1.json"), filepath.Join("testdata", "sink-known-v1.bin")}
	script(t, &said, append([]string{"sink.py"}, files...)...)
	if said.Sink.Path != "/dev/disk/by-id/scsi-36000c29" || said.Sink.State != "state" || said.Sink.Sectors != 1<<21 || said.Sink.Signature != "00ff" {
		t.Errorf("%+v", said.Sink)
	}
	if d := cmp.Diff([]int{0, 3, 8, 19}, said.Known.Known); d != "" || said.Known.Granules != 20 {
		t.Errorf("%+v", said.Known)
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	for _, file := range files {
		body, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for range 5 {
			spoiled := slices.Clone(body)
			bit := rnd.IntN(8 * len(spoiled))
			spoiled[bit/8] ^= 1 << (bit % 8)
			path := filepath.Join(t.TempDir(), filepath.Base(file))
			if err := os.WriteFile(path, spoiled, 0o600); err != nil {
				t.Fatal(err)
			}
			if out, err := exec.CommandContext(t.Context(), python(t), "sink.py", path).Output(); err == nil {
				t.Errorf("bit %d of %s was turned over: %s", bit, file, out)
			}
		}
	}
}
