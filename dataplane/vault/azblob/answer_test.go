package azblob

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/service"

	"farshore/dataplane/vault"
	"farshore/fault"
)

// dropper stands in front of Azurite and swallows answers: requests are carried out, and the connection breaks.
type dropper struct {
	to      *httputil.ReverseProxy
	matches func(*http.Request) bool
	drops   atomic.Int32 // left
	seen    atomic.Int32 // requests that matched
}

func (d *dropper) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if d.matches == nil || !d.matches(r) {
		d.to.ServeHTTP(w, r)
		return
	}
	d.seen.Add(1)
	if d.drops.Add(-1) < 0 {
		d.to.ServeHTTP(w, r)
		return
	}
	d.to.ServeHTTP(httptest.NewRecorder(), r)
	panic(http.ErrAbortHandler)
}

// throughDropper opens a fresh vault through a dropper that drops nothing yet.
func throughDropper(t *testing.T) (vault.Store, vault.Replicas, *dropper) {
	t.Helper()
	a := testAccount(t)
	target, err := url.Parse(testServer.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	d := &dropper{to: httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: target.Host})}
	front := httptest.NewServer(d)
	t.Cleanup(front.Close)
	a.Endpoint = front.URL + target.Path
	if err := Create(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	s, r, err := Open(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	return s, r, d
}

func TestAPutWhoseAnswerIsLostIsFoundToBeOurs(t *testing.T) {
	s, _, d := throughDropper(t)
	d.matches = func(r *http.Request) bool {
		return r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, "/segment")
	}
	d.drops.Store(1)
	outcome, err := s.PutIfAbsent(t.Context(), "journal/v1/segment", []byte("bytes"))
	if err != nil || outcome != vault.Same || d.seen.Load() != 2 {
		t.Errorf("%v, %v after %d requests; want same after 2", outcome, err, d.seen.Load())
	}
}

func TestAPageWriteWhoseAnswerIsLostIsNotRepeated(t *testing.T) {
	_, r, d := throughDropper(t)
	const name = "replica/v1/m/web-01/g00000001/sda.vhd"
	if err := r.Create(t.Context(), name, 16); err != nil {
		t.Fatal(err)
	}
	disk, err := r.Open(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	if err := disk.Fence(t.Context()); err != nil {
		t.Fatal(err)
	}
	d.matches = func(r *http.Request) bool { return r.URL.Query().Get("comp") == "page" }
	d.drops.Store(1)
	err = disk.WriteAt(t.Context(), bytes.Repeat([]byte{1}, 512), 0)
	if f, ok := fault.As(err); !ok || f.Kind != fault.Transient || d.seen.Load() != 1 {
		t.Errorf("%v after %d requests; want a transient fault after 1", err, d.seen.Load())
	}
	if err := disk.WriteAt(t.Context(), bytes.Repeat([]byte{2}, 512), 0); err != nil {
		t.Error(err)
	}
}

func TestALostAnswerIsNotTakenForAnotherWriter(t *testing.T) {
	_, r, d := throughDropper(t)
	const name = "replica/v1/m/web-01/g00000001/sda.vhd"
	if err := r.Create(t.Context(), name, 16); err != nil {
		t.Fatal(err)
	}
	disk, err := r.Open(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	d.matches = func(r *http.Request) bool { return r.Method == http.MethodPut }
	d.drops.Store(1)
	if err := disk.Fence(t.Context()); err != nil {
		t.Fatalf("fence: %v", err)
	}
	d.drops.Store(1)
	err = disk.SetState(t.Context(), []byte("state"))
	if f, ok := fault.As(err); !ok || f.Kind != fault.Transient {
		t.Errorf("set state: %v, want a transient fault", err)
	}
	if got, err := disk.State(t.Context()); err != nil || string(got) != "state" {
		t.Errorf("state %q, %v", got, err)
	}
	if err := disk.SetState(t.Context(), []byte("again")); err != nil {
		t.Error(err)
	}
}

func TestFaultsSayWhetherToTryAgain(t *testing.T) {
	wrong := testAccount(t)
	var err error
	if wrong.Key, err = service.NewSharedKeyCredential(wrong.Name, "d3Jvbmc="); err != nil {
		t.Fatal(err)
	}
	_, _, err = Open(t.Context(), wrong)
	if f, ok := fault.As(err); !ok || f.Code != "FS-3002" || f.Kind != fault.Operator {
		t.Errorf("a wrong key: %v", err)
	}
	away := testAccount(t)
	closed := httptest.NewServer(nil)
	closed.Close()
	away.Endpoint = closed.URL
	_, _, err = Open(t.Context(), away)
	if f, ok := fault.As(err); !ok || f.Code != "FS-3001" || f.Kind != fault.Transient {
		t.Errorf("nobody there: %v", err)
	}
	busy := testAccount(t)
	full := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("x-ms-error-code", "ServerBusy")
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	defer full.Close()
	busy.Endpoint = full.URL
	_, _, err = Open(t.Context(), busy)
	if f, ok := fault.As(err); !ok || f.Code != "FS-3003" || f.Kind != fault.Transient {
		t.Errorf("a busy account: %v", err)
	}
}

func TestAPutThatAnAccountAtItsLimitsRefusesIsNotRepeatedInside(t *testing.T) {
	for _, r := range []struct {
		code   string
		status int
		want   int32 // requests
		fault  string
	}{
		{"ServerBusy", http.StatusServiceUnavailable, 1, "FS-3003"},
		{"", http.StatusServiceUnavailable, 1, "FS-3003"},
		{"OperationTimedOut", http.StatusInternalServerError, 1, "FS-3003"},
		{"", http.StatusTooManyRequests, 1, "FS-3003"},
		{"InternalError", http.StatusInternalServerError, 1 + tries, "FS-3001"},
	} {
		a := testAccount(t)
		var seen atomic.Int32
		limited := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
			if q.Method == http.MethodPut {
				seen.Add(1)
				w.Header().Set("x-ms-error-code", r.code)
				w.WriteHeader(r.status)
			}
		}))
		a.Endpoint = limited.URL
		s, _, err := Open(t.Context(), a)
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.PutIfAbsent(t.Context(), "journal/v1/segment", []byte("bytes"))
		if f, ok := fault.As(err); !ok || f.Code != r.fault || f.Kind != fault.Transient || seen.Load() != r.want {
			t.Errorf("%d %s: %v after %d requests; want a transient %s after %d", r.status, r.code, err, seen.Load(), r.fault, r.want)
		}
		limited.Close()
	}
}
