package journal

import (
	"testing"
	"time"

	"farshore"
)

// by makes a ticket one of an instance, with a session number of its own.
func by(instance string, session uint64) func(*Ticket) {
	return func(t *Ticket) { t.Instance, t.Session = instance, session }
}

func fresh(t *Ticket) { t.NewGeneration = true }

// TestOnlyTheHeirGoesOnWithAStreamThatWasReleasedToIt is a machine that fails over and comes home: its source, the VM at the
// recovery site, the machine that came home. Each body goes on in the same generation at once, and no other can.
func TestOnlyTheHeirGoesOnWithAStreamThatWasReleasedToIt(t *testing.T) {
	w := newWorld(t)
	control := w.deps(farshore.RoleControl, "control")
	release := func(heir string, epoch farshore.Epoch) {
		t.Helper()
		for range 2 { // asked again, it changes nothing
			if got, err := ReleaseTo(t.Context(), control, web, heir); err != nil || got != epoch {
				t.Fatalf("released behind epoch %d, %v; want %d", got, err, epoch)
			}
		}
	}
	refused := func(code string, change ...func(*Ticket)) {
		t.Helper()
		_, _, err := Claim(t.Context(), w.server("hq-1"), w.ticket("hq-1", change...))
		wantFault(t, err, code)
	}
	goesOn := func(e farshore.Epoch, lsn farshore.LSN, change ...func(*Ticket)) *Writer {
		t.Helper()
		writer, resume := w.claim("hq-1", change...)
		if resume.NewGeneration || resume.Generation != 1 || resume.Epoch != e || resume.LastLSN != lsn {
			t.Errorf("resume = %+v, want epoch %d behind record %d of generation 1", resume, e, lsn)
		}
		return writer
	}

	source := begin(t, w, by("source", 7))
	w.write(source, 1, 2)
	if _, err := Fence(t.Context(), control, web); err != nil {
		t.Fatal(err)
	}
	release("vm", 3)
	refused("FS-3507", by("source", 8))
	refused("FS-3507", by("source", 9), fresh)
	refused("FS-3507", by("clone", 20))
	refused("FS-3507", by("clone", 21), fresh)
	vm := goesOn(4, 2, by("vm", 3)) // its state is an older image of the source's
	w.write(vm, 3)
	release("vm", 3) // that is so already: the heir is left alone
	w.write(vm, 4)
	refused("FS-3501", by("vm", 3))
	vm = goesOn(5, 4, by("vm", 4))
	w.write(vm, 5)

	w.now = w.now.Add(48 * time.Hour)
	refused("FS-3507", by("source", 30)) // for ever, however long the stream is silent
	refused("FS-3507", by("source", 31), fresh)
	release("home", 7) // not fenced: it is fenced first
	if err := vm.Commit(t.Context(), prepare(t, vm, 99)); err == nil {
		t.Error("the predecessor was acknowledged after the stream was released")
	}
	refused("FS-3507", by("vm", 5))
	home := goesOn(8, 5, by("home", 1))
	w.write(home, 6)
	refused("FS-3507", by("vm", 6))
	refused("FS-3507", by("source", 32))

	release("vm", 10) // taken back: the same body again, which has claims of before
	refused("FS-3501", by("vm", 4))
	refused("FS-3507", by("home", 2))
	vm = goesOn(11, 6, by("vm", 7))
	w.write(vm, 7)
	refused("FS-3507", by("home", 3))
	refused("FS-3503", by("clone", 40))
	w.wantContent(1, 1, 2, 3, 4, 5, 6, 7)
	w.wantBad(0)
}

func begin(t *testing.T, w *world, change ...func(*Ticket)) *Writer {
	t.Helper()
	writer, _ := w.claim("hq-1", change...)
	return writer
}

func TestAReleaseThatIsTakenBackBeforeAnybodyUsedItLeavesTheSourceItsStream(t *testing.T) {
	w := newWorld(t)
	control := w.deps(farshore.RoleControl, "control")
	source, _ := w.claim("hq-1", by("source", 1))
	w.write(source, 1)
	if _, err := ReleaseTo(t.Context(), control, web, "vm"); err != nil {
		t.Fatal(err)
	}
	if _, err := Fence(t.Context(), control, web); err != nil {
		t.Fatal(err)
	}
	_, _, err := Claim(t.Context(), w.server("hq-1"), w.ticket("hq-1", by("vm", 1)))
	wantFault(t, err, "FS-3502")
	if err := Unfence(t.Context(), control, web); err != nil {
		t.Fatal(err)
	}
	_, _, err = Claim(t.Context(), w.server("hq-1"), w.ticket("hq-1", by("vm", 2)))
	wantFault(t, err, "FS-3503")
	_, resume := w.claim("hq-1", by("source", 2))
	if resume.NewGeneration || resume.LastLSN != 1 {
		t.Errorf("resume = %+v, want the same generation behind record 1", resume)
	}
}

func TestAnUnfencedHeirKeepsItsStreamAndItsPredecessorStaysOut(t *testing.T) {
	w := newWorld(t)
	control := w.deps(farshore.RoleControl, "control")
	source, _ := w.claim("hq-1", by("source", 1))
	w.write(source, 1)
	if _, err := ReleaseTo(t.Context(), control, web, "vm"); err != nil {
		t.Fatal(err)
	}
	vm, _ := w.claim("hq-1", by("vm", 1))
	w.write(vm, 2)
	if _, err := Fence(t.Context(), control, web); err != nil { // a failover of what runs there, which is taken back
		t.Fatal(err)
	}
	if err := Unfence(t.Context(), control, web); err != nil {
		t.Fatal(err)
	}
	w.now = w.now.Add(2 * recently)
	for _, change := range [][]func(*Ticket){{by("source", 2)}, {by("source", 3), fresh}} {
		_, _, err := Claim(t.Context(), w.server("hq-1"), w.ticket("hq-1", change...))
		wantFault(t, err, "FS-3507")
	}
	vm, _ = w.claim("hq-1", by("vm", 2))
	w.write(vm, 3)
	w.wantContent(1, 1, 2, 3)
}

func TestAServerCannotNameAnHeir(t *testing.T) {
	w := newWorld(t)
	source, _ := w.claim("hq-1", by("source", 1))
	w.write(source, 1)
	if _, err := Fence(t.Context(), w.deps(farshore.RoleControl, "control"), web); err != nil {
		t.Fatal(err)
	}
	if _, err := ReleaseTo(t.Context(), w.server("hq-1"), web, "vm"); err != nil { // its claim is put, and believed by nobody
		t.Fatal(err)
	}
	_, _, err := Claim(t.Context(), w.server("hq-1"), w.ticket("hq-1", by("vm", 1)))
	wantFault(t, err, "FS-3502")
}

func TestMayAsksWithoutClaiming(t *testing.T) {
	w := newWorld(t)
	d := w.server("hq-1")
	source, _ := w.claim("hq-1", by("source", 1))
	w.write(source, 1)
	if err := May(t.Context(), d, Ticket{Machine: web, Instance: "clone", Session: 1}); err == nil {
		t.Error("a clone may claim")
	} else {
		wantFault(t, err, "FS-3503")
	}
	if err := May(t.Context(), d, Ticket{Machine: web, Instance: "source", Session: 2}); err != nil {
		t.Error(err)
	}
	w.write(source, 2) // it was not fenced
}
