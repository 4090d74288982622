package authority

import (
	"path/filepath"
	"testing"
	"time"

	"farshore"
	"farshore/dataplane/credential"
)

var agent = farshore.Identity{Role: farshore.RoleAgent, Name: "web-01"}

func request(t *testing.T, id farshore.Identity) (*credential.Node, []byte) {
	t.Helper()
	node, err := credential.Create(t.TempDir(), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	csr, err := node.CertificateRequest(id)
	if err != nil {
		t.Fatal(err)
	}
	return node, csr
}

func TestIssuedCertificatesAreBelievedByNodesOfTheVaultOnly(t *testing.T) {
	ca, err := New(time.Now)
	if err != nil {
		t.Fatal(err)
	}
	node, csr := request(t, agent)
	chain, err := ca.Issue(csr, agent, "localhost", "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	if err := node.SaveChain(chain); err != nil {
		t.Fatal(err)
	}
	if id, err := node.Identity(); err != nil || id != agent {
		t.Errorf("identity %v, %v", id, err)
	}
	other, err := New(time.Now)
	if err != nil {
		t.Fatal(err)
	}
	strangers, err := credential.RootsFromDER(other.Certificate())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := strangers.Identify(chain[:1], time.Now()); err == nil {
		t.Error("another vault believes the certificate")
	}
}

func TestACertificateIsIssuedForNoOtherNameThanTheCallersChoice(t *testing.T) {
	ca, err := New(time.Now)
	if err != nil {
		t.Fatal(err)
	}
	_, csr := request(t, farshore.Identity{Role: farshore.RoleOperator, Name: "mallory"})
	if _, err := ca.Issue(csr, agent); err == nil {
		t.Error("the request asked for another name and was answered")
	}
	csr[len(csr)-1] ^= 1
	if _, err := ca.Issue(csr, agent); err == nil {
		t.Error("a request with a broken signature was answered")
	}
}

func TestAnAuthoritySurvivesTheDisk(t *testing.T) {
	ca, err := New(time.Now)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "ca")
	if err := ca.Save(dir); err != nil {
		t.Fatal(err)
	}
	if err := ca.Save(dir); err == nil {
		t.Error("a CA was overwritten")
	}
	again, err := Load(dir, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	if again.Pin() != ca.Pin() {
		t.Error("the pin changed")
	}
	_, csr := request(t, agent)
	if _, err := again.Issue(csr, agent); err != nil {
		t.Error(err)
	}
}
