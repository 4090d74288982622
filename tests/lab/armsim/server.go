package armsim

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
)

// object is a JSON object, as ARM bodies are.
type object = map[string]any

// Options say what the server stands on.
type Options struct {
	Blobs      Blobs      // where Import reads page blobs
	Hypervisor Hypervisor // what starts machines
	DiskDir    string     // where managed disks are kept as raw files
	CoreQuota  int        // cores per region; 0 means 100
}

// Server is the resource manager. Make one with [New], serve it over HTTP, and Close it.
type Server struct {
	opt  Options
	ctx  context.Context // of the work behind operations; ended by Close
	stop context.CancelFunc
	work sync.WaitGroup

	mu         sync.Mutex
	resources  map[string]object // by lower-case resource id
	machines   map[string]*machine
	routes     map[string][]string // networks that a gateway has learned, by its resource id
	operations map[string]*operation
	nextOp     int
	faults     []*Fault
	requests   []string
}

// New makes a server. The work it starts ends with Close.
func New(ctx context.Context, opt Options) *Server {
	if opt.CoreQuota == 0 {
		opt.CoreQuota = 100
	}
	ctx, stop := context.WithCancel(ctx)
	return &Server{
		opt: opt, ctx: ctx, stop: stop, resources: map[string]object{}, machines: map[string]*machine{},
		routes: map[string][]string{}, operations: map[string]*operation{},
	}
}

// Close ends running work and stops every machine.
func (s *Server) Close() error {
	s.stop()
	s.work.Wait()
	return s.opt.Hypervisor.Close()
}

// Requests lists what was asked, "METHOD /path", in order.
func (s *Server) Requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.requests...)
}

// Resources lists the ids of everything that exists, resource groups left out.
func (s *Server) Resources() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var ids []string
	for key, r := range s.resources {
		if strings.Contains(key, "/providers/") {
			ids = append(ids, text(r, "id"))
		}
	}
	return ids
}

// armError is a refusal in ARM's form.
type armError struct {
	status        int
	code, message string
}

func refuse(status int, code, format string, args ...any) *armError {
	return &armError{status: status, code: code, message: fmt.Sprintf(format, args...)}
}

// ServeHTTP answers one ARM request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if name, ok := strings.CutPrefix(r.URL.Path, serialPrefix); ok { // stands for a SAS URL: no token
		s.serveSerial(w, name)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	request := r.Method + " " + r.URL.Path
	if r.URL.Query().Get("skipShutdown") == "true" {
		request += "?skipShutdown=true"
	}
	s.requests = append(s.requests, request)
	if err := s.admit(w, r); err != nil {
		answerError(w, err)
		return
	}
	if strings.HasPrefix(r.URL.Path, operationPrefix) {
		s.poll(w, strings.TrimPrefix(r.URL.Path, operationPrefix))
		return
	}
	s.route(w, r)
}

// admit checks what every request needs and applies a scripted refusal.
func (s *Server) admit(w http.ResponseWriter, r *http.Request) *armError {
	if !strings.HasPrefix(r.Header.Get("Authorization"), "Bearer ") {
		return refuse(http.StatusUnauthorized, "AuthenticationFailed", "there is no bearer token")
	}
	if r.URL.Query().Get("api-version") == "" {
		return refuse(http.StatusBadRequest, "MissingApiVersionParameter", "the api-version query parameter is missing")
	}
	if f := s.take(r, func(f *Fault) bool { return f.Status != 0 }); f != nil {
		if f.RetryAfterSeconds > 0 {
			w.Header().Set("Retry-After", fmt.Sprint(f.RetryAfterSeconds))
		}
		return refuse(f.Status, f.Code, "scripted")
	}
	return nil
}

func (s *Server) route(w http.ResponseWriter, r *http.Request) {
	id := strings.TrimSuffix(r.URL.Path, "/")
	switch r.Method {
	case http.MethodGet:
		s.get(w, r, id)
	case http.MethodPut:
		s.put(w, r, id)
	case http.MethodPatch:
		s.patch(w, r, id)
	case http.MethodDelete:
		s.remove(w, r, id)
	case http.MethodPost:
		s.act(w, r, id)
	default:
		answerError(w, refuse(http.StatusMethodNotAllowed, "MethodNotAllowed", "%s is not an ARM method", r.Method))
	}
}

func (s *Server) get(w http.ResponseWriter, r *http.Request, id string) {
	key := strings.ToLower(id)
	if body, ok := s.resources[key]; ok {
		if strings.EqualFold(r.URL.Query().Get("$expand"), "instanceView") {
			body = s.withView(key, body)
		}
		answer(w, http.StatusOK, body)
		return
	}
	if vm, ok := strings.CutSuffix(key, "/instanceview"); ok && s.machines[vm] != nil {
		answer(w, http.StatusOK, s.instanceView(vm))
		return
	}
	if network, ok := strings.CutSuffix(strings.ToLower(id), "/checkipaddressavailability"); ok {
		answer(w, http.StatusOK, object{"available": s.addressFree(network, r.URL.Query().Get("ipAddress"))})
		return
	}
	if values, ok := s.collection(r, id); ok {
		answer(w, http.StatusOK, object{"value": values})
		return
	}
	answerError(w, refuse(http.StatusNotFound, "ResourceNotFound", "%s does not exist", id))
}

func (s *Server) put(w http.ResponseWriter, r *http.Request, id string) {
	var body object
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		answerError(w, refuse(http.StatusBadRequest, "InvalidRequestContent", "the body is not JSON: %v", err))
		return
	}
	key := strings.ToLower(id)
	body["id"], body["name"], body["type"] = id, id[strings.LastIndex(id, "/")+1:], typeOf(id)
	if body["properties"] == nil {
		body["properties"] = object{}
	}
	if !strings.Contains(key, "/providers/") { // a resource group is made at once
		properties(body)["provisioningState"] = "Succeeded"
		s.store(w, key, body)
		return
	}
	if err := s.groupExists(key); err != nil {
		answerError(w, err)
		return
	}
	work, err := s.accept(key, body)
	if err != nil {
		answerError(w, err)
		return
	}
	s.begin(w, r, created(key, s.resources[key] != nil), operationStart{key: key, body: body, work: work})
}

// store keeps a resource that needs no operation.
func (s *Server) store(w http.ResponseWriter, key string, body object) {
	status := http.StatusCreated
	if s.resources[key] != nil {
		status = http.StatusOK
	}
	s.resources[key] = body
	answer(w, status, body)
}

// created is the status a PUT answers with: compute accepts, the others create.
func created(key string, exists bool) int {
	switch {
	case strings.Contains(key, "/microsoft.compute/disks/"):
		return http.StatusAccepted
	case exists:
		return http.StatusOK
	}
	return http.StatusCreated
}

func (s *Server) remove(w http.ResponseWriter, r *http.Request, id string) {
	key := strings.ToLower(id)
	body, ok := s.resources[key]
	if !ok {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	if user := s.userOf(key); user != "" && strings.Contains(key, "/providers/") {
		answerError(w, refuse(http.StatusConflict, "ResourceInUse", "%s is used by %s", id, user))
		return
	}
	s.begin(w, r, http.StatusAccepted, operationStart{key: key, body: body, removes: true})
}

// groupExists refuses a resource whose group is missing.
func (s *Server) groupExists(key string) *armError {
	parts := strings.Split(key, "/")
	if len(parts) < 6 || s.resources[strings.Join(parts[:5], "/")] == nil {
		return refuse(http.StatusNotFound, "ResourceGroupNotFound", "the resource group of %s does not exist", key)
	}
	return nil
}

// userOf names a resource that refers to key, or "".
func (s *Server) userOf(key string) string {
	for other, body := range s.resources {
		if other == key || strings.HasPrefix(other, key+"/") {
			continue
		}
		b, err := json.Marshal(body["properties"])
		if err == nil && strings.Contains(strings.ToLower(string(b)), `"`+key+`"`) {
			return other
		}
	}
	return ""
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if body != nil {
		// An error here means that the client went away: there is nobody left to tell.
		json.NewEncoder(w).Encode(body) //nolint:errcheck
	}
}

func answerError(w http.ResponseWriter, e *armError) {
	w.Header().Set("x-ms-error-code", e.code)
	answer(w, e.status, object{"error": object{"code": e.code, "message": e.message}})
}
