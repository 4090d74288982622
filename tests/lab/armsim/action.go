package armsim

import (
	"encoding/json"
	"maps"
	"net/http"
	"strings"
)

// act answers a POST: the actions of virtual machines and gateways.
func (s *Server) act(w http.ResponseWriter, r *http.Request, id string) {
	cut := strings.LastIndex(id, "/")
	key, action := strings.ToLower(id[:cut]), strings.ToLower(id[cut+1:])
	if s.resources[key] == nil {
		answerError(w, refuse(http.StatusNotFound, "ResourceNotFound", "%s does not exist", id[:cut]))
		return
	}
	switch action {
	case "retrievebootdiagnosticsdata":
		answer(w, http.StatusOK, object{"serialConsoleLogBlobUri": "http://" + r.Host + serialPrefix + nameOf(key)})
	case "poweroff", "deallocate", "start":
		s.changePower(w, r, key, action)
	case "getlearnedroutes":
		s.tellRoutes(w, r, key)
	default:
		answerError(w, refuse(http.StatusBadRequest, "InvalidAction", "action %q is not supported here", action))
	}
}

// serveSerial gives the serial console of a machine as a boot diagnostics blob.
func (s *Server) serveSerial(w http.ResponseWriter, name string) {
	console, err := s.opt.Hypervisor.Serial(name)
	if err != nil {
		answerError(w, refuse(http.StatusNotFound, "BlobNotFound", "%v", err))
		return
	}
	w.Header().Set("Content-Type", "text/plain")
	w.Write(console) //nolint:errcheck // the client went away
}

// patch merges tags, on a resource or through its tags/default.
func (s *Server) patch(w http.ResponseWriter, r *http.Request, id string) {
	var body object
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		answerError(w, refuse(http.StatusBadRequest, "InvalidRequestContent", "the body is not JSON: %v", err))
		return
	}
	key, _ := strings.CutSuffix(strings.ToLower(id), "/providers/microsoft.resources/tags/default")
	resource, ok := s.resources[key]
	if !ok {
		answerError(w, refuse(http.StatusNotFound, "ResourceNotFound", "%s does not exist", key))
		return
	}
	given, _ := at(body, "tags").(object)
	if given == nil {
		given, _ = at(body, "properties.tags").(object)
	}
	tags, _ := resource["tags"].(object)
	if tags == nil {
		tags = object{}
	}
	maps.Copy(tags, given)
	resource["tags"] = tags
	answer(w, http.StatusOK, object{"id": id, "name": "default", "properties": object{"tags": tags}})
}

// collection answers a GET of many: resources by tag, the children of a type, usages, sizes.
func (s *Server) collection(r *http.Request, id string) ([]object, bool) {
	lower := strings.ToLower(id)
	switch {
	case strings.HasSuffix(lower, "/resources"):
		return s.byTag(strings.TrimSuffix(lower, "/resources"), r.URL.Query().Get("$filter")), true
	case strings.HasSuffix(lower, "/usages") && strings.Contains(lower, "/microsoft.compute/locations/"):
		return []object{{
			"name": object{"value": "cores", "localizedValue": "Total Regional vCPUs"}, "unit": "Count",
			"currentValue": s.coresUsed(), "limit": s.opt.CoreQuota,
		}}, true
	case strings.HasSuffix(lower, "/vmsizes"):
		return []object{{"name": "Standard_D2s_v5", "numberOfCores": 2, "memoryInMB": 8192, "maxDataDiskCount": 4}}, true
	case strings.HasSuffix(lower, "/connections") && strings.Contains(lower, "/virtualnetworkgateways/"):
		return s.connectionsOf(strings.TrimSuffix(lower, "/connections")), true
	case strings.Count(lower, "/")%2 == 1 && strings.Contains(lower, "/providers/"):
		return s.children(lower), true
	}
	return nil, false
}

// children are the resources directly below a collection's path.
func (s *Server) children(path string) []object {
	values := []object{}
	for key, body := range s.resources {
		if rest, ok := strings.CutPrefix(key, path+"/"); ok && !strings.Contains(rest, "/") {
			values = append(values, body)
		}
	}
	return values
}

// byTag reads the one filter that clients use: tagName eq 'x' and tagValue eq 'y'.
func (s *Server) byTag(scope, filter string) []object {
	name, value := quoted(filter, "tagname eq "), quoted(filter, "tagvalue eq ")
	values := []object{}
	for key, body := range s.resources {
		if !strings.HasPrefix(key, scope+"/") || !strings.Contains(key, "/providers/") || strings.Contains(key, "/subnets/") {
			continue
		}
		if name == "" || (text(body, "tags."+name) == value && value != "") {
			values = append(values, body)
		}
	}
	return values
}

// quoted finds the 'text' behind a word of an OData filter.
func quoted(filter, word string) string {
	_, rest, ok := strings.Cut(strings.ToLower(filter), word)
	if !ok {
		return ""
	}
	start := len(filter) - len(rest)
	parts := strings.SplitN(filter[start:], "'", 3)
	if len(parts) < 3 {
		return ""
	}
	return parts[1]
}
