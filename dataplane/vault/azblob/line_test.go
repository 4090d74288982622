package azblob

import (
	"context"
	"encoding/base64"
	"io"
	"net/http"
	"strconv"
	"testing"
	"testing/synctest"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/service"

	"farshore/dataplane/vault"
)

// line stands for the service and the way to it, in one process: time passes in no time.
type line func(*http.Request) (*http.Response, error)

func (l line) Do(q *http.Request) (*http.Response, error) { return l(q) }

func (l line) open(t *testing.T) (vault.Store, vault.Replicas) {
	t.Helper()
	key, err := service.NewSharedKeyCredential("account", base64.StdEncoding.EncodeToString([]byte("key")))
	if err != nil {
		t.Fatal(err)
	}
	s, r, err := Open(t.Context(), Account{Endpoint: "http://127.0.0.1:1", Name: "account", Key: key, transport: l})
	if err != nil {
		t.Fatal(err)
	}
	return s, r
}

func answer(q *http.Request, status int, body io.ReadCloser, headers ...string) *http.Response {
	r := &http.Response{
		StatusCode: status, Status: http.StatusText(status), Header: http.Header{}, Body: body, Request: q, ContentLength: -1,
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	if n, err := strconv.ParseInt(r.Header.Get("Content-Length"), 10, 64); err == nil {
		r.ContentLength = n
	}
	return r
}

// stall is a body whose bytes never come.
type stall struct{ ctx context.Context }

func (s stall) Read([]byte) (int, error) {
	<-s.ctx.Done()
	return 0, context.Cause(s.ctx)
}

func (stall) Close() error { return nil }

func TestABodyThatStallsIsGivenUpThoughTheCallerHasNoDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reads := 0
		s, r := line(func(q *http.Request) (*http.Response, error) {
			switch {
			case q.URL.Query().Get("restype") == "container":
				return answer(q, 200, http.NoBody), nil
			case q.Method == http.MethodHead:
				return answer(q, 200, http.NoBody, "Content-Length", "1048576", "x-ms-blob-sequence-number", "1", "ETag", `"1"`), nil
			case reads%2 == 0:
				reads++
				return answer(q, 206, stall{q.Context()}, "Content-Length", "1024", "ETag", `"1"`), nil
			}
			<-q.Context().Done() // what is asked again is not even answered
			return nil, q.Context().Err()
		}).open(t)
		if body, err := s.GetRange(t.Context(), "journal/v1/x", 0, 1024); err == nil {
			t.Errorf("an object that never came has %d bytes", len(body))
		}
		reads = 0
		d, err := r.Open(t.Context(), "replica/v1/m/web-01/g00000001/sda.vhd")
		if err != nil {
			t.Fatal(err)
		}
		if err := d.ReadAt(t.Context(), make([]byte, 1024), 0); err == nil {
			t.Error("a disk that never answers was read")
		}
	})
}
