package azurite

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob"
)

// server starts a server that the test's end stops, or skips loudly.
func server(t *testing.T) *Server {
	t.Helper()
	if testing.Short() {
		t.Skip("SKIPPED: -short: the first start of Azurite fetches packages")
	}
	if err := Missing(); err != nil {
		t.Skipf("SKIPPED: %v", err)
	}
	s, err := Start(t.Context(), Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Kill)
	return s
}

func client(t *testing.T, s *Server) *azblob.Client {
	t.Helper()
	credential, err := azblob.NewSharedKeyCredential(s.Account, s.Key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := azblob.NewClientWithSharedKeyCredential(s.Endpoint, credential, nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func read(ctx context.Context, c *azblob.Client) (string, error) {
	answer, err := c.DownloadStream(ctx, "box", "blob", nil)
	if err != nil {
		return "", err
	}
	var content bytes.Buffer
	if _, err := content.ReadFrom(answer.Body); err != nil {
		return "", err
	}
	return content.String(), answer.Body.Close()
}

func TestBlobsSurviveAStopAndTheServerSurvivesAKill(t *testing.T) {
	s := server(t)
	c := client(t, s)
	ctx := t.Context()
	if _, err := c.CreateContainer(ctx, "box", nil); err != nil {
		t.Fatal(err)
	}
	if _, err := c.UploadBuffer(ctx, "box", "blob", []byte("far shore"), nil); err != nil {
		t.Fatal(err)
	}
	s.Stop()
	if _, err := read(ctx, c); err == nil || s.Running() {
		t.Error("a stopped server answers")
	}
	for _, end := range []func(){s.Kill, func() {}} {
		if err := s.Restart(ctx); err != nil {
			t.Fatal(err)
		}
		if got, err := read(ctx, c); err != nil || got != "far shore" {
			t.Errorf("after a restart: %q, %v", got, err)
		}
		end()
	}
}

func TestTwoServersRunSideBySide(t *testing.T) {
	a, b := server(t), server(t)
	if a.Endpoint == b.Endpoint {
		t.Errorf("both serve %s", a.Endpoint)
	}
	if _, err := client(t, a).CreateContainer(t.Context(), "box", nil); err != nil {
		t.Fatal(err)
	}
	if _, err := client(t, b).CreateContainer(t.Context(), "box", nil); err != nil {
		t.Errorf("the other server has it too: %v", err)
	}
}

func TestTheLockFileNamesNoRegistry(t *testing.T) {
	if strings.Contains(string(packageLock), `"resolved"`) {
		t.Error("package-lock.json has resolved addresses: make it with npm install --package-lock-only --omit-lockfile-registry-resolved")
	}
}
