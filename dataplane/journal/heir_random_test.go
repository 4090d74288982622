package journal

import (
	"math/rand/v2"
	"testing"
	"time"

	"farshore"
)

// TestWhoeverTriesOnlyTheInstanceWhoseTurnItIsWrites lets three bodies of a machine try to claim at any time, with sessions old and
// new, while the stream is fenced, given back and released to one or another; a model of a few lines says who may.
func TestWhoeverTriesOnlyTheInstanceWhoseTurnItIsWrites(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	w := newWorld(t)
	control := w.deps(farshore.RoleControl, "control")
	bodies := []string{"source", "vm", "home"}
	sessions := map[string]uint64{}
	former := map[string]bool{} // has handed over, and was not named again
	wrote := map[string]bool{}
	owner, heir, fenced := "", "", false
	first, _ := w.claim("hq-1", by("source", 1))
	w.write(first, 1)
	owner, sessions["source"], wrote["source"] = "source", 1, true
	claims := 0
	for step := range 60 {
		who := bodies[rnd.IntN(len(bodies))]
		switch rnd.IntN(8) {
		case 0:
			if _, err := Fence(t.Context(), control, web); err != nil {
				t.Fatal(err)
			}
			fenced = true
		case 1:
			if err := Unfence(t.Context(), control, web); err != nil {
				t.Fatal(err)
			}
			if fenced { // a release that nobody has used is taken back
				heir, fenced = "", false
			}
		case 2:
			if _, err := ReleaseTo(t.Context(), control, web, who); err != nil {
				t.Fatal(err)
			}
			if fenced || owner != who || heir != "" && heir != who {
				heir, fenced = who, false
			}
		default:
			stale := sessions[who] > 0 && rnd.IntN(4) == 0
			number := sessions[who] + 1
			if stale {
				number--
			}
			may := !fenced && !stale && (heir == who || heir == "" && owner == who && !former[who])
			_, resume, err := Claim(t.Context(), w.server("hq-1"), w.ticket("hq-1", by(who, number)))
			if (err == nil) != may {
				t.Fatalf("step %d: %s tries with session %d: %v; owner %s, heir %q, fenced %v", step, who, number, err, owner, heir, fenced)
			}
			if err != nil {
				continue
			}
			if resume.Generation != 1 || resume.NewGeneration {
				t.Fatalf("step %d: resume = %+v", step, resume)
			}
			if heir != "" {
				for b := range wrote {
					former[b] = b != heir
				}
			}
			owner, heir, sessions[who], wrote[who] = who, "", number, true
			claims++
		}
		w.now = w.now.Add(time.Second)
	}
	t.Logf("%d claims", claims)
}
