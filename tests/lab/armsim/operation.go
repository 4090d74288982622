package armsim

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

const operationPrefix = "/operations/"

// operation is one long-running operation, as a client polls it.
type operation struct {
	pollsLeft int  // polls that answer InProgress before the outcome is shown
	stuck     bool // never ends
	done      bool // the work has ended
	result    any  // what a look at the operation's location gives in the end
	err       *armError
}

// work is what an operation does outside the lock. It returns properties to merge into the resource.
type work func(ctx context.Context) (object, error)

type operationStart struct {
	key     string
	body    object
	work    work
	removes bool
	action  bool // changes the power of something, whose provisioning stays as it is
}

// begin answers with the headers of a long-running operation and starts its work.
func (s *Server) begin(w http.ResponseWriter, r *http.Request, status int, start operationStart) {
	s.nextOp++
	name := fmt.Sprint(s.nextOp)
	op := &operation{pollsLeft: 1}
	s.operations[name] = op
	if f := s.take(r, func(f *Fault) bool { return f.Status == 0 }); f != nil {
		op.stuck = f.Stuck
		if f.Lost {
			delete(s.operations, name)
		}
		if f.LateCode != "" {
			op.err = refuse(http.StatusOK, f.LateCode, "scripted late failure")
		}
	}
	if !start.removes && !start.action {
		properties(start.body)["provisioningState"] = "Creating"
		s.resources[start.key] = start.body
	}
	s.work.Go(func() { s.carryOut(op, start) })

	base := "http://" + r.Host + operationPrefix + name + "?api-version=" + r.URL.Query().Get("api-version")
	w.Header().Set("Azure-AsyncOperation", base)
	w.Header().Set("Retry-After", "0")
	if start.removes || start.action {
		w.Header().Set("Location", base)
		w.WriteHeader(status)
		return
	}
	answer(w, status, start.body)
}

// carryOut does the work of an operation and records how it ended.
func (s *Server) carryOut(op *operation, start operationStart) {
	if start.removes {
		s.release(start)
	}
	var merged object
	var err error
	if start.work != nil && op.err == nil {
		merged, err = start.work(s.ctx)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		op.err = lateError(err)
	}
	op.done = true
	if start.removes {
		s.forget(start.key)
		return
	}
	if start.action {
		return
	}
	p := properties(start.body)
	p["provisioningState"] = "Succeeded"
	if op.err != nil {
		p["provisioningState"] = "Failed"
		s.detach(start.key)
	}
	for name, value := range merged {
		p[name] = value
	}
}

// forget removes a resource and what lies under it (a resource group takes everything along).
func (s *Server) forget(key string) {
	for other, body := range s.resources {
		if other == key || strings.HasPrefix(other, key+"/") {
			s.detach(other)
			for _, along := range s.along(body) {
				delete(s.resources, along)
			}
			delete(s.resources, other)
			delete(s.machines, other)
		}
	}
}

func lateError(err error) *armError {
	var e *armError
	if errors.As(err, &e) {
		return e
	}
	return refuse(http.StatusOK, "InternalExecutionError", "%v", err)
}

// Error makes a refusal usable as the outcome of work.
func (e *armError) Error() string { return e.code + ": " + e.message }

// poll answers for an operation. A late failure comes with status 200, as Azure's do.
func (s *Server) poll(w http.ResponseWriter, name string) {
	op := s.operations[name]
	switch {
	case op == nil:
		answerError(w, refuse(http.StatusNotFound, "OperationNotFound", "operation %s does not exist", name))
	case op.stuck || op.pollsLeft > 0 || !op.done:
		op.pollsLeft--
		w.Header().Set("Retry-After", "0")
		if op.result != nil { // of this kind only the location is polled, and its status says that it is not over
			w.WriteHeader(http.StatusAccepted)
			return
		}
		answer(w, http.StatusOK, object{"status": "InProgress"})
	case op.err != nil:
		answer(w, http.StatusOK, object{"status": "Failed", "error": object{"code": op.err.code, "message": op.err.message}})
	case op.result != nil:
		answer(w, http.StatusOK, op.result)
	default:
		answer(w, http.StatusOK, object{"status": "Succeeded"})
	}
}
