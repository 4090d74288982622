package agent_test

import (
	"bytes"
	"context"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"farshore/dataplane/agent"
	"farshore/dataplane/chain"
	"farshore/dataplane/tracker"
	"farshore/dataplane/vault"
)

// liar is what a process server that lies makes of its vault: it says that segments are there, and puts none.
type liar struct {
	vault.Store
	on        atomic.Bool
	swallowed atomic.Int64
}

func (l *liar) PutIfAbsent(ctx context.Context, name string, body []byte) (vault.Outcome, error) {
	if l.on.Load() && strings.HasPrefix(name, chain.JournalPrefix(machine, 1)) {
		l.swallowed.Add(1)
		return vault.Created, nil
	}
	return l.Store.PutIfAbsent(ctx, name, body)
}

// What a server acknowledged and did not store is missed by the agent at the next one, whichever grade it has, and copied again: by
// hashes, so that little more than that travels. It goes the same way with a vault that was put back from an older copy.
func TestWhatAServerAcknowledgedAndDidNotStoreIsCopiedAgain(t *testing.T) {
	inEachGrade(t, func(t *testing.T, grade tracker.Grade) {
		s := newSource(t, grade, nil)
		lie := &liar{Store: s.store}
		goTo := func(name string, store vault.Store) {
			t.Helper()
			honest := s.store
			s.store = store
			_, address, _ := s.serveAs(name, filepath.Join(filepath.Dir(s.cache), name))
			s.store = honest
			s.part.Desired.ProcessServers = []string{address}
			s.agent.Desire(s.part.Desired)
			s.await(s.agent, "rest at "+name, func(o agent.Observed) bool { return settledAt(o) && o.ProcessServer == address })
		}
		goTo("hq-2", lie)
		lie.on.Store(true)
		const bytesLost = 64 << 10
		s.write(1<<20, bytes.Repeat([]byte{7}, bytesLost))
		before := s.rest()
		if lie.swallowed.Load() == 0 {
			t.Fatal("nothing was swallowed")
		}
		goTo("hq-3", s.store)
		s.restAtEqual()
		if s.log.says("the vault no longer holds point") == 0 {
			t.Errorf("the agent did not miss what it was told of at %v", before.LastPoint.Position)
		}
		if c := s.compared(1); c.Different != 0 {
			t.Errorf("the comparison: %+v", c)
		}
		o := s.rest()
		t.Logf("%d segments were swallowed; %d bytes were sent for %d", lie.swallowed.Load(), o.Sent-before.Sent, int64(bytesLost))
		if sent := o.Sent - before.Sent; sent > comparedBytes/4 {
			t.Errorf("%d bytes were sent again", sent)
		}
	})
}
