package journal

import (
	"testing"

	"farshore"
)

func TestAFailoverThatIsTakenBackLetsTheSourceGoOnWithoutAFullCopy(t *testing.T) {
	w := newWorld(t)
	old, _ := w.claim("hq-1")
	w.write(old, 1, 2)
	control := w.deps(farshore.RoleControl, "control")
	if err := Unfence(t.Context(), control, web); err != nil { // nothing to take back
		t.Fatal(err)
	}
	w.write(old, 3)
	if _, err := Fence(t.Context(), control, web); err != nil {
		t.Fatal(err)
	}
	_, _, err := Claim(t.Context(), w.server("hq-1"), w.ticket("hq-1"))
	wantFault(t, err, "FS-3502")
	for range 2 {
		if err := Unfence(t.Context(), control, web); err != nil {
			t.Fatal(err)
		}
	}
	if _, fenced, err := w.reader().Fenced(t.Context(), web); fenced || err != nil {
		t.Errorf("Fenced() = %v, %v", fenced, err)
	}
	next, resume := w.claim("hq-1")
	if resume.NewGeneration || resume.Generation != 1 || resume.Epoch != 4 || resume.LastLSN != 3 || !resume.Clean {
		t.Errorf("resume = %+v", resume)
	}
	w.write(next, 4)
	w.wantContent(1, 1, 2, 3, 4)
	link, err := Fence(t.Context(), control, web) // and it can be fenced again
	if err != nil || link.Position.Epoch != 4 || link.LastLSN != 4 {
		t.Errorf("fenced again at %+v, %v", link, err)
	}
	_, _, err = Claim(t.Context(), w.server("hq-1"), w.ticket("hq-1"))
	wantFault(t, err, "FS-3502")
}

func TestAServerCannotTakeAFenceBack(t *testing.T) {
	w := newWorld(t)
	old, _ := w.claim("hq-1")
	w.write(old, 1)
	if _, err := Fence(t.Context(), w.deps(farshore.RoleControl, "control"), web); err != nil {
		t.Fatal(err)
	}
	if err := Unfence(t.Context(), w.server("hq-1"), web); err != nil {
		t.Fatal(err)
	}
	if _, fenced, err := w.reader().Fenced(t.Context(), web); !fenced || err != nil { // its claim is not believed
		t.Errorf("Fenced() = %v, %v", fenced, err)
	}
	_, _, err := Claim(t.Context(), w.server("hq-1"), w.ticket("hq-1"))
	wantFault(t, err, "FS-3502")
}
