package main

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"farshore"
	"farshore/dataplane/hub"
	"farshore/fault"
	"farshore/tests/lab/process/processtest"
)

// TestAProcessServerActsOnWhatWasDesiredOfItWithoutTheHub starts the program with the documents that a move and a drain leave.
func TestAProcessServerActsOnWhatWasDesiredOfItWithoutTheHub(t *testing.T) {
	s := newSite(t)
	desire := func(number int, more string) {
		s.write(filepath.Join(s.state, hub.DesiredFile),
			fmt.Sprintf(`{"version": {"incarnation": "1", "number": "%d"}, "processServer": {"machines": ["web-01"], "rpoSeconds": {"web-01": 900}%s}}`, number, more))
	}
	a := &agent{s: s, node: s.ca.Node(t, farshore.RoleAgent, "web-01")}
	s.address = processtest.FreeAddress(t)
	desire(2, fmt.Sprintf(`, "listen": %q`, s.address))
	server := s.start()
	link, _ := a.awaitOpen() // at the address that it was moved to
	link.Close()
	if err := server.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	wantExit(t, "the killed server", server.Wait(), -1)

	desire(3, fmt.Sprintf(`, "listen": %q, "drain": true`, s.address))
	server = s.start()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for range ticker.C {
		link, _, err := a.open()
		if f, ok := fault.As(err); ok && (f.Code == "FS-2010" || f.Code == "FS-2005") {
			continue // not there yet
		}
		if err == nil {
			link.Close()
		}
		if f, ok := fault.As(err); !ok || f.Code != "FS-2013" {
			t.Errorf("a server that is drained: %v", err)
		}
		break
	}
	if err := server.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	wantExit(t, "the killed server", server.Wait(), -1)
}
