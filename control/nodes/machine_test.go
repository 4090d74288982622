package nodes

import (
	"testing"

	"farshore"
	"farshore/dataplane/hub"
)

// temporary is a process server that this server makes, with the token that its VM is given.
func temporary(t *testing.T, s *server) (farshore.Identity, hub.Enrolment) {
	t.Helper()
	id := farshore.Identity{Role: farshore.RoleProcessServer, Name: "run-7-ps"}
	text, _, err := s.JoinToken(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	token, err := hub.ParseToken(text)
	if err != nil {
		t.Fatal(err)
	}
	if document, ok, err := s.Desired(id); err != nil || !ok || !document.GetProcessServer().GetReserved() {
		t.Fatalf("desired %v, %v, %v: want it reserved before it can enrol", document, ok, err)
	}
	return id, s.enrolment(id, token)
}

func TestATemporaryServerThatNeverEnrolledLeavesNothingAndComesTooLate(t *testing.T) {
	s := start(t)
	id, late := temporary(t, s)
	for range 2 { // a removal that is repeated
		if err := s.Retire(id); err != nil {
			t.Fatal(err)
		}
	}
	if document, ok, err := s.Desired(id); ok || err != nil {
		t.Errorf("desired %v, %v: want nothing", document, err)
	}
	_, err := hub.Enrol(t.Context(), late)
	wantFault(t, err, "FS-6010", "there is no such token")
}

func TestATemporaryServerIsRefusedOnceItIsRetired(t *testing.T) {
	s := start(t)
	id, enrolment := temporary(t, s)
	if _, err := hub.Enrol(t.Context(), enrolment); err != nil {
		t.Fatal(err)
	}
	if err := s.Retire(id); err != nil {
		t.Fatal(err)
	}
	if _, ok, err := s.Find(id); ok || err != nil {
		t.Errorf("it is a node still, %v", err)
	}
	if document, ok, err := s.Desired(id); ok || err != nil {
		t.Errorf("desired %v, %v: want nothing", document, err)
	}
}
