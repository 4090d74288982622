package crash

import (
	"context"
	"testing"
	"time"

	"farshore"
	"farshore/dataplane/credential"
	"farshore/dataplane/disk/disktest"
	"farshore/dataplane/journal"
	"farshore/tests/lab/site"
)

// The clocks of agent and process server are an hour off, either way: what is sent is acknowledged and read back as it was, and
// its times are called suspect. Both have certificates that have just begun.
func TestClocksThatAreAnHourOffStopNothing(t *testing.T) {
	off := func(by time.Duration) func() time.Time { return func() time.Time { return time.Now().Add(by) } }
	for _, row := range []struct {
		name          string
		agent, server time.Duration
	}{
		{"the agent's is slow", -time.Hour, 0},
		{"the agent's is fast", time.Hour, 0},
		{"the server's is slow", 0, -time.Hour},
		{"the server's is fast", 0, time.Hour},
		{"they are two hours apart", time.Hour, -time.Hour},
	} {
		t.Run(row.name, func(t *testing.T) {
			dir := disktest.Dir(t)
			s := site.New(t, dir, lineMachine)
			r := &race{t: t, site: s, acked: map[farshore.Position]string{}, tally: map[string]int{}}
			r.node = shifted(t, s, farshore.RoleAgent, string(lineMachine), off(row.agent))
			address, _ := s.ServeAs(shifted(t, s, farshore.RoleProcessServer, rival, off(row.server)), off(row.server))
			ctx, cancel := context.WithTimeout(t.Context(), linePatience)
			defer cancel()
			config := r.config(address, 2, off(row.agent))
			r.judge(run(ctx, config, true))
			r.check()
			points, err := s.Reader().Points(t.Context(), lineMachine)
			if err != nil || len(points) < 2 {
				t.Fatalf("%d points, %v", len(points), err)
			}
			for _, p := range points {
				if !p.Suspect {
					t.Errorf("the time of %v is not called suspect: %v, the clocks differ by more than %v", p.Position, p.Time, journal.ClockTolerance)
				}
			}
		})
	}
}

// shifted is an enrolled node with a clock of its own.
func shifted(t *testing.T, s *site.Site, role farshore.Role, name string, now func() time.Time) *credential.Node {
	t.Helper()
	dir := t.TempDir()
	s.CA.NodeIn(t, dir, role, name)
	node, err := credential.Load(dir, now)
	if err != nil {
		t.Fatal(err)
	}
	return node
}
