package azblob

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/service"

	"farshore/dataplane/vault"
)

// scripted answers the questions about an account as a test wants it.
type scripted struct {
	softDelete string // XML of the service's properties; empty: 403
	immutable  map[string]string
}

func (s scripted) Do(r *http.Request) (*http.Response, error) {
	answer := &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: http.NoBody, Request: r}
	if r.URL.Query().Get("comp") == "properties" {
		if s.softDelete == "" {
			answer.StatusCode = http.StatusForbidden
			answer.Header.Set("x-ms-error-code", "AuthorizationPermissionMismatch")
			return answer, nil
		}
		answer.Header.Set("Content-Type", "application/xml")
		answer.Body = io.NopCloser(strings.NewReader("<?xml version=\"1.0\" encoding=\"utf-8\"?><StorageServiceProperties>" + s.softDelete + "</StorageServiceProperties>"))
		return answer, nil
	}
	for name, value := range s.immutable {
		answer.Header.Set(name, value)
	}
	return answer, nil
}

func TestWhatTheStorageGuardsIsSaidAndWhatNobodyKnowsIsNotCalledOn(t *testing.T) {
	key, err := service.NewSharedKeyCredential("account", "a2V5")
	if err != nil {
		t.Fatal(err)
	}
	const policy, hold, versions = "x-ms-has-immutability-policy", "x-ms-has-legal-hold", "x-ms-immutable-storage-with-versioning-enabled"
	rows := map[string]struct {
		answers    scripted
		soft       vault.GuardState
		immutable  vault.GuardState
		softDetail string
	}{
		"all on": {
			scripted{"<DeleteRetentionPolicy><Enabled>true</Enabled><Days>14</Days></DeleteRetentionPolicy>", map[string]string{policy: "true", hold: "false"}},
			vault.GuardOn, vault.GuardOn, "14 days",
		},
		"all off": {
			scripted{"<DeleteRetentionPolicy><Enabled>false</Enabled></DeleteRetentionPolicy>", map[string]string{policy: "false", hold: "false", versions: "false"}},
			vault.GuardOff, vault.GuardOff, "",
		},
		"nobody may ask, a legal hold":  {scripted{"", map[string]string{policy: "false", hold: "true"}}, vault.GuardUnknown, vault.GuardOn, "may not ask (403 AuthorizationPermissionMismatch)"},
		"an emulator that says nothing": {scripted{"<Cors/>", nil}, vault.GuardUnknown, vault.GuardUnknown, "says nothing"},
		"policies of versions":          {scripted{"<Cors/>", map[string]string{policy: "false", versions: "true"}}, vault.GuardUnknown, vault.GuardUnknown, "says nothing"},
	}
	for what, r := range rows {
		s, _, err := Open(t.Context(), Account{Endpoint: "https://account.blob.core.windows.net", Name: "account", Key: key, transport: r.answers})
		if err != nil {
			t.Fatal(err)
		}
		guards := vault.GuardsOf(t.Context(), s)
		if len(guards) != 4 {
			t.Fatalf("%s: %+v", what, guards)
		}
		if g := guards[0]; g.State != r.soft || !strings.Contains(g.Detail, r.softDetail) || g.Advice == "" {
			t.Errorf("%s: %+v", what, g)
		}
		if guards[1].State != vault.GuardUnknown {
			t.Errorf("%s: the data path cannot know of containers: %+v", what, guards[1])
		}
		for _, g := range guards[2:] {
			if g.State != r.immutable || g.Advice == "" {
				t.Errorf("%s: %+v", what, g)
			}
		}
	}
}
