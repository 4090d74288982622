package credential_test

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"farshore"
	"farshore/dataplane/credential"
	"farshore/dataplane/credential/credentialtest"
)

func TestNodeWithoutCertificateIsNotEnrolled(t *testing.T) {
	dir := t.TempDir()
	if _, err := credential.Load(dir, time.Now); !errors.Is(err, credential.ErrNotEnrolled) {
		t.Errorf("load of an empty folder: %v, want ErrNotEnrolled", err)
	}
	if _, err := credential.Create(dir, time.Now); err != nil {
		t.Fatal(err)
	}
	if _, err := credential.Load(dir, time.Now); !errors.Is(err, credential.ErrNotEnrolled) {
		t.Errorf("load of a folder with a key only: %v, want ErrNotEnrolled", err)
	}
}

func TestKeyIsMadeOnceAndOnlyItsOwnerReadsIt(t *testing.T) {
	dir := t.TempDir()
	read := func() []byte {
		if _, err := credential.Create(dir, time.Now); err != nil {
			t.Fatal(err)
		}
		content, err := os.ReadFile(filepath.Join(dir, credential.KeyFile))
		if err != nil {
			t.Fatal(err)
		}
		return content
	}
	if first, second := read(), read(); !bytes.Equal(first, second) {
		t.Error("the second Create made another key")
	}
	file, err := os.Stat(filepath.Join(dir, credential.KeyFile))
	if err != nil {
		t.Fatal(err)
	}
	if got := file.Mode().Perm(); got != 0o600 {
		t.Errorf("the key's mode is %o, want 600", got)
	}
}

func TestIdentityComesFromTheCertificate(t *testing.T) {
	ca := credentialtest.NewCA(t)
	node := ca.Node(t, farshore.RoleAgent, "web-01")
	want := farshore.Identity{Role: farshore.RoleAgent, Name: "web-01"}
	if got, err := node.Identity(); err != nil || got != want {
		t.Errorf("Identity() = %v, %v, want %v", got, err, want)
	}
}

func TestRenewalIsSeenWithoutARestart(t *testing.T) {
	ca := credentialtest.NewCA(t)
	dir := t.TempDir()
	running := ca.NodeIn(t, dir, farshore.RoleAgent, "web-01")
	before, err := running.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	ca.NodeIn(t, dir, farshore.RoleAgent, "web-01") // another process renews
	after, err := running.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(before.Certificate[0], after.Certificate[0]) {
		t.Error("the old certificate is still in use")
	}
}

func TestSaveChainRefusesWhatIsNotOurs(t *testing.T) {
	ca, other := credentialtest.NewCA(t), credentialtest.NewCA(t)
	id := farshore.Identity{Role: farshore.RoleAgent, Name: "web-01"}
	begin, end := time.Now(), time.Now().Add(time.Hour)
	node := ca.Node(t, farshore.RoleAgent, "web-01")
	mine, err := node.CertificateRequest(id)
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := credential.Create(t.TempDir(), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := stranger.CertificateRequest(id)
	if err != nil {
		t.Fatal(err)
	}
	chains := map[string][][]byte{
		"another CA than the pinned one": other.Issue(t, mine, begin, end),
		"a certificate for another key":  ca.Issue(t, theirs, begin, end),
		"no CA at its end":               ca.Issue(t, mine, begin, end)[:1],
		"nothing":                        nil,
		"garbage":                        {[]byte("x"), ca.DER()},
	}
	for name, chain := range chains {
		if err := node.SaveChain(chain); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if got, err := node.Identity(); err != nil || got != id {
		t.Errorf("after the refusals Identity() = %v, %v", got, err)
	}
}

func TestCertificateIsBelievedFromADayBeforeItsBeginUntilThirtyDaysAfterItsEnd(t *testing.T) {
	ca := credentialtest.NewCA(t)
	node, err := credential.Create(t.TempDir(), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	id := farshore.Identity{Role: farshore.RoleProcessServer, Name: "hq-1"}
	request, err := node.CertificateRequest(id)
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	end := begin.Add(24 * time.Hour)
	if err := node.SaveChain(ca.Issue(t, request, begin, end)); err != nil {
		t.Fatal(err)
	}
	signature, err := node.Sign("test", []byte("payload"))
	if err != nil {
		t.Fatal(err)
	}
	rows := []struct {
		name string
		at   time.Time
		want error
	}{
		{"by a clock that is a day and an hour slow", begin.Add(-25 * time.Hour), credential.ErrUntrusted},
		{"by a clock that is an hour slow", begin.Add(-time.Hour), nil},
		{"in its time", begin.Add(time.Hour), nil},
		{"29 days after its end", end.Add(29 * 24 * time.Hour), nil},
		{"31 days after its end", end.Add(31 * 24 * time.Hour), credential.ErrExpired},
	}
	for _, r := range rows {
		got, err := ca.Roots(t).Verify(r.at, "test", []byte("payload"), signature)
		if !errors.Is(err, r.want) || (r.want == nil && got != id) {
			t.Errorf("%s: %v, %v, want %v", r.name, got, err, r.want)
		}
	}
}

func TestSignatureIsForOnePayloadOnePurposeAndOneVault(t *testing.T) {
	ca := credentialtest.NewCA(t)
	node := ca.Node(t, farshore.RoleAgent, "web-01")
	signature, err := node.Sign("ticket", []byte("abc"))
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(signature)
	if err != nil {
		t.Fatal(err)
	}
	var s credential.Signature
	if err := json.Unmarshal(text, &s); err != nil {
		t.Fatal(err)
	}
	damaged := credential.Signature{Chain: s.Chain, Value: append(bytes.Clone(s.Value[:len(s.Value)-1]), s.Value[len(s.Value)-1]^1)}
	other := ca.Node(t, farshore.RoleAgent, "db-01")
	otherSignature, err := other.Sign("ticket", []byte("abc"))
	if err != nil {
		t.Fatal(err)
	}
	rows := []struct {
		name, domain, payload string
		roots                 *credential.Roots
		signature             credential.Signature
		want                  error
	}{
		{"as signed", "ticket", "abc", ca.Roots(t), s, nil},
		{"another payload", "ticket", "abd", ca.Roots(t), s, credential.ErrBadSignature},
		{"another purpose", "claim", "abc", ca.Roots(t), s, credential.ErrBadSignature},
		{"the border between purpose and payload moved", "ticketa", "bc", ca.Roots(t), s, credential.ErrBadSignature},
		{"a damaged value", "ticket", "abc", ca.Roots(t), damaged, credential.ErrBadSignature},
		{"another node's certificate", "ticket", "abc", ca.Roots(t), credential.Signature{Chain: otherSignature.Chain, Value: s.Value}, credential.ErrBadSignature},
		{"another vault", "ticket", "abc", credentialtest.NewCA(t).Roots(t), s, credential.ErrUntrusted},
		{"no certificate", "ticket", "abc", ca.Roots(t), credential.Signature{Value: s.Value}, credential.ErrUntrusted},
	}
	for _, r := range rows {
		if _, err := r.roots.Verify(time.Now(), r.domain, []byte(r.payload), r.signature); !errors.Is(err, r.want) {
			t.Errorf("%s: %v, want %v", r.name, err, r.want)
		}
	}
}

// handshake connects the two ends over loopback and gives both results.
func handshake(t *testing.T, server, client *tls.Config) (serverErr, clientErr error) {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	done := make(chan error, 1)
	go func() { done <- greet(t, listener, server) }()
	c, clientErr := (&tls.Dialer{Config: client}).DialContext(t.Context(), "tcp", listener.Addr().String())
	if clientErr == nil { // in TLS 1.3 the client learns of a refusal only when it reads
		_, clientErr = c.Read(make([]byte, 1))
		c.Close()
	}
	return <-done, clientErr
}

func greet(t *testing.T, listener net.Listener, config *tls.Config) error {
	conn, err := listener.Accept()
	if err != nil {
		return err
	}
	defer conn.Close()
	s := tls.Server(conn, config)
	if err := s.HandshakeContext(t.Context()); err != nil {
		return err
	}
	_, err = s.Write([]byte{1})
	return err
}

func TestEndsOfOneVaultMeetAndKnowEachOther(t *testing.T) {
	ca := credentialtest.NewCA(t)
	agent, server := ca.Node(t, farshore.RoleAgent, "web-01"), ca.Node(t, farshore.RoleProcessServer, "hq-1")
	serverErr, clientErr := handshake(t, server.ServerTLS("p/1", farshore.RoleAgent), agent.ClientTLS("p/1", farshore.RoleProcessServer))
	if serverErr != nil || clientErr != nil {
		t.Errorf("server: %v, client: %v", serverErr, clientErr)
	}
}

func TestServerRefusesAClientOfAnotherVaultOrRole(t *testing.T) {
	ca := credentialtest.NewCA(t)
	server := ca.Node(t, farshore.RoleProcessServer, "hq-1")
	for name, client := range map[string]*credential.Node{
		"another vault": credentialtest.NewCA(t).Node(t, farshore.RoleAgent, "web-01"),
		"another role":  ca.Node(t, farshore.RoleApplier, "web-01"),
	} {
		config := client.ClientTLS("p/1", farshore.RoleProcessServer)
		config.VerifyConnection = nil // whatever the client thinks, the server must refuse
		serverErr, _ := handshake(t, server.ServerTLS("p/1", farshore.RoleAgent), config)
		if !errors.Is(serverErr, credential.ErrUntrusted) {
			t.Errorf("%s: %v, want ErrUntrusted", name, serverErr)
		}
	}
}

func TestClientRefusesAServerOfAnotherVault(t *testing.T) {
	agent := credentialtest.NewCA(t).Node(t, farshore.RoleAgent, "web-01")
	server := credentialtest.NewCA(t).Node(t, farshore.RoleProcessServer, "hq-1")
	config := server.ServerTLS("p/1", farshore.RoleAgent)
	config.VerifyConnection = nil
	_, clientErr := handshake(t, config, agent.ClientTLS("p/1", farshore.RoleProcessServer))
	if !errors.Is(clientErr, credential.ErrUntrusted) {
		t.Errorf("the client says %v, want ErrUntrusted", clientErr)
	}
}

func TestServerRefusesAnotherProtocolAndAnOldTLS(t *testing.T) {
	ca := credentialtest.NewCA(t)
	agent, server := ca.Node(t, farshore.RoleAgent, "web-01"), ca.Node(t, farshore.RoleProcessServer, "hq-1")
	for name, spoil := range map[string]func(*tls.Config){
		"another protocol": func(c *tls.Config) { c.NextProtos = []string{"h2"} },
		"no protocol":      func(c *tls.Config) { c.NextProtos = nil },
		"TLS 1.2":          func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS12, tls.VersionTLS12 },
		"no certificate":   func(c *tls.Config) { c.GetClientCertificate = nil },
	} {
		config := agent.ClientTLS("p/1", farshore.RoleProcessServer)
		config.VerifyConnection = nil
		spoil(config)
		if serverErr, _ := handshake(t, server.ServerTLS("p/1", farshore.RoleAgent), config); serverErr == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
