package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"farshore/tests/lab/guest"
	"farshore/tests/lab/qemu"
)

// The whole way with nothing left out, to metal: the machine is a guest that carries its own agent, its operator has the desk,
// and whoever stands before the metal has a rescue image and agrees at its console.
func TestAMachineComesHomeToMetalByTheDesk(t *testing.T) {
	if os.Getenv("RESCUE") == "" {
		t.Skip("SKIPPED: three guests and a rescue image boot one after the other; run: make rescue")
	}
	needMetal(t)
	w := newTraveller(t, "traveller-3", qemu.UEFI)
	w.goOut()
	m := newMetal(t, w.folder("metal"), w.Machine, guest.DiskBytes, targetConfig(w.Azurite, filepath.Join(w.Dir, "keys", "vault.key"), filepath.Join(w.Dir, "account.key")))
	m.network = qemu.Loopback
	rescue := m.boot("rescue", w.rescueImage(m))
	m.says(rescue, "Ready: "+m.target())
	answered := m.agree(rescue)
	w.reprotect(w.metalHome(m))
	<-answered
	w.must("failback", "start", w.Machine)
	t.Logf("the metal said:\n%s", m.lands(rescue))
	m.wantOneEntry("restored")

	home := m.boot("home", "")
	w.goOn(m.disk, home) // the commit waits for the agent at home
	console, err := home.Serial()
	if err != nil {
		t.Fatal(err)
	}
	w.verdict("at home", console)
	if bodies, err := w.CLI(t.Context(), "machine", "show", w.Machine); err != nil || !strings.Contains(string(bodies), "(at home) acts") {
		t.Errorf("%s, %v", bodies, err)
	}
	w.must("node", "remove", "master-target", m.target())
	m.wantOneEntry("at home")
}

// rescueImage builds a rescue image with a token of the desk.
func (w *traveller) rescueImage(m *metal) string {
	w.Helper()
	token, err := w.Token(w.Context(), "master-target", m.target())
	if err != nil {
		w.Fatal(err)
	}
	return m.build("image", strconv.Itoa(w.Ports.Control), token.GetToken(), token.GetCaPin())
}

// metalHome is the file that says how the machine comes home to metal. The lab's guest has drivers of the lab's metal, and of no
// other: that its agent would not have it started on other metal is right.
func (w *traveller) metalHome(m *metal) string {
	w.Helper()
	machine, err := w.Show(w.Context())
	if err != nil || len(machine.GetSpec().GetDisks()) != 1 {
		w.Fatalf("machine %v, %v", machine, err)
	}
	return fmt.Sprintf("kind: device\nmasterTarget: %s\ndisks: {%q: %s}\nunready: true\n", m.target(), machine.GetSpec().GetDisks()[0].GetId(), metalPath)
}
