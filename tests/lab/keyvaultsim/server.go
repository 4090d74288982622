package keyvaultsim

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// Token is what lets a client in.
const Token = "token-of-the-lab"

const (
	identity = "secret-of-the-host" // that the host gives its programs, so that nobody else asks for their tokens
	keyBits  = 2048
)

// Server is a Key Vault with keys that a test makes.
type Server struct {
	t    testing.TB
	http *httptest.Server

	mu       sync.Mutex
	keys     map[string][]*version
	denied   bool
	busy     int
	calls    []string // METHOD PATH of what was answered well
	disabled map[string]bool
}

// version is one version of a key.
type version struct {
	id  string
	key *rsa.PrivateKey
}

// Start begins a Key Vault that ends with the test.
func Start(t testing.TB) *Server {
	t.Helper()
	s := &Server{t: t, keys: map[string][]*version{}, disabled: map[string]bool{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /identity", s.identity)
	mux.HandleFunc("GET /keys/{name}/{version}", s.guarded(s.get))
	mux.HandleFunc("GET /keys/{name}/{$}", s.guarded(s.get))
	mux.HandleFunc("POST /keys/{name}/{version}/{operation}", s.guarded(s.operate))
	mux.HandleFunc("POST /keys/{name}/{operation}", s.guarded(s.operate))
	s.http = httptest.NewTLSServer(slashes(mux))
	t.Cleanup(s.http.Close)
	return s
}

// slashes makes one slash of two: clients leave the version out of the middle of a path.
func slashes(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.URL.Path = strings.ReplaceAll(r.URL.Path, "//", "/")
		next.ServeHTTP(w, r)
	})
}

// URL of a key, without a version.
func (s *Server) URL(name string) string { return s.http.URL + "/keys/" + name }

// Client trusts the server's certificate.
func (s *Server) Client() *http.Client { return s.http.Client() }

// Environment lets a program of its own trust the server and get tokens for it as a managed identity.
func (s *Server) Environment() map[string]string {
	s.t.Helper()
	path := filepath.Join(s.t.TempDir(), "ca.pem")
	content := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.http.Certificate().Raw})
	if err := os.WriteFile(path, content, 0o600); err != nil {
		s.t.Fatal(err)
	}
	return map[string]string{"SSL_CERT_FILE": path, "IDENTITY_ENDPOINT": s.http.URL + "/identity", "IDENTITY_HEADER": identity}
}

// NewVersion makes a key, or a new version of it.
func (s *Server) NewVersion(name string) {
	s.t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, keyBits)
	if err != nil {
		s.t.Fatal(err)
	}
	var id [16]byte
	rand.Read(id[:])
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys[name] = append(s.keys[name], &version{id: hex.EncodeToString(id[:]), key: key})
}

// Deny refuses every request from now on, or no longer.
func (s *Server) Deny(denied bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.denied = denied
}

// Busy answers the next n requests with "try again".
func (s *Server) Busy(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy = n
}

// Disable disables all versions of a key that there are.
func (s *Server) Disable(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, v := range s.keys[name] {
		s.disabled[v.id] = true
	}
}

// Calls tells what was done.
func (s *Server) Calls() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.calls)
}

// identity answers as the token endpoint of a managed identity.
func (s *Server) identity(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("X-IDENTITY-HEADER") != identity || r.URL.Query().Get("resource") == "" {
		answer(w, http.StatusBadRequest, map[string]string{"error": "invalid_request"})
		return
	}
	answer(w, http.StatusOK, map[string]string{
		"access_token": Token, "expires_on": "4102444800", "resource": r.URL.Query().Get("resource"), "token_type": "Bearer",
	})
}

// guarded lets in whoever has a token and tells everybody else where to get one.
func (s *Server) guarded(next func(http.ResponseWriter, *http.Request)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		denied, busy := s.denied, s.busy > 0
		s.busy = max(s.busy-1, 0)
		s.mu.Unlock()
		switch {
		case r.URL.Query().Get("api-version") == "":
			fail(w, http.StatusBadRequest, "BadParameter", "api-version must be specified")
		case r.Header.Get("Authorization") != "Bearer "+Token:
			w.Header().Set("WWW-Authenticate", `Bearer authorization="https://login.microsoftonline.com/00000000-0000-0000-0000-000000000001", resource="https://vault.azure.net"`)
			fail(w, http.StatusUnauthorized, "Unauthorized", "Request is missing a Bearer or PoP token.")
		case denied:
			fail(w, http.StatusForbidden, "Forbidden", "Caller is not authorized to perform action on resource.")
		case busy:
			w.Header().Set("Retry-After", "0")
			fail(w, http.StatusTooManyRequests, "Throttled", "Request was not processed because too many requests were received.")
		default:
			next(w, r)
		}
	}
}

// find gives the version that is named, or the newest.
func (s *Server) find(w http.ResponseWriter, r *http.Request) *version {
	s.mu.Lock()
	defer s.mu.Unlock()
	versions := s.keys[r.PathValue("name")]
	for i := len(versions) - 1; i >= 0; i-- {
		v := versions[i]
		if want := r.PathValue("version"); want != "" && want != v.id {
			continue
		}
		if s.disabled[v.id] {
			fail(w, http.StatusForbidden, "Forbidden", "Operation is not allowed on a disabled key.")
			return nil
		}
		s.calls = append(s.calls, r.Method+" "+r.URL.Path)
		return v
	}
	fail(w, http.StatusNotFound, "KeyNotFound", "A key with (name/id) "+r.PathValue("name")+" was not found in this key vault.")
	return nil
}

func (s *Server) kid(r *http.Request, v *version) string {
	return s.URL(r.PathValue("name")) + "/" + v.id
}

func (s *Server) get(w http.ResponseWriter, r *http.Request) {
	v := s.find(w, r)
	if v == nil {
		return
	}
	answer(w, http.StatusOK, map[string]any{
		"key": map[string]any{
			"kid": s.kid(r, v), "kty": "RSA", "key_ops": []string{"wrapKey", "unwrapKey"},
			"n": encode(v.key.N.Bytes()), "e": encode(big.NewInt(int64(v.key.E)).Bytes()),
		},
		"attributes": map[string]any{"enabled": true},
	})
}

func (s *Server) operate(w http.ResponseWriter, r *http.Request) {
	v := s.find(w, r)
	if v == nil {
		return
	}
	var in struct {
		Algorithm string `json:"alg"`
		Value     string `json:"value"`
	}
	err := json.NewDecoder(r.Body).Decode(&in)
	if err == nil && in.Algorithm != "RSA-OAEP-256" {
		err = fmt.Errorf("alg %q", in.Algorithm)
	}
	value, derr := base64.RawURLEncoding.DecodeString(in.Value)
	var out []byte
	switch r.PathValue("operation") {
	case "wrapkey":
		out, derr = rsa.EncryptOAEP(sha256.New(), rand.Reader, &v.key.PublicKey, value, nil)
	case "unwrapkey":
		out, derr = rsa.DecryptOAEP(sha256.New(), nil, v.key, value, nil)
	default:
		err = fmt.Errorf("operation %q", r.PathValue("operation"))
	}
	if err != nil || derr != nil {
		fail(w, http.StatusBadRequest, "BadParameter", fmt.Sprint("Invalid parameter: ", err, derr))
		return
	}
	answer(w, http.StatusOK, map[string]string{"kid": s.kid(r, v), "value": encode(out)})
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func fail(w http.ResponseWriter, status int, code, message string) {
	answer(w, status, map[string]any{"error": map[string]string{"code": code, "message": message}})
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(body); err != nil {
		panic(http.ErrAbortHandler)
	}
}
