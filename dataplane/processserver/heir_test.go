package processserver

import (
	"testing"
	"time"

	"farshore"
	"farshore/dataplane/journal"
)

// TestASourceThatCameBackDoesNotDisturbItsHeir lets the former instance of a machine try again and again with higher session
// numbers while its heir replicates through the same server.
func TestASourceThatCameBackDoesNotDisturbItsHeir(t *testing.T) {
	w := newWorld(t)
	server := w.serve("hq-1", w.config(t.TempDir()), w.store)
	source := w.agent("web-01", 1)
	r := source.open(server.address)
	must(t, r.copyAll())
	n, err := r.cut()
	must(t, err)
	_, err = r.awaitDurable(n)
	must(t, err)
	source.session = 40

	control := w.ca.Node(t, farshore.RoleControl, "control-1")
	_, err = journal.ReleaseTo(t.Context(), journal.Deps{Store: w.store, Vault: w.id, Signer: control, Roots: w.ca.Roots(t), Now: time.Now}, "web-01", "vm")
	must(t, err)
	vm := w.agent("web-01", 2)
	vm.node, vm.content, vm.seen = source.node, source.content, source.seen // an image of the source: its disks, its certificate
	asVM := func(j *journal.Ticket) { j.Instance = "vm" }
	r, err = vm.tryOpen(server.address, asVM)
	must(t, err)
	if r.opened.Generation != 1 || r.opened.NewGeneration || !r.opened.TailClean {
		t.Errorf("opened = %+v, want the same generation", r.opened)
	}
	for range 5 {
		_, err := source.tryOpen(server.address, nil)
		wantFault(t, err, "FS-3507")
		must(t, r.write(3))
		n, err := r.cut()
		must(t, err)
		_, err = r.awaitDurable(n)
		must(t, err) // the session is still the one that was opened first
	}
	vm.check()
}
