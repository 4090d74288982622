package nodes

import (
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"farshore/dataplane/hub"
)

// tokens counts the join tokens that are kept.
func (s *server) tokens() (n int) {
	s.t.Helper()
	err := s.db.View(func(tx *bbolt.Tx) error {
		n = tx.Bucket(tokenBucket).Stats().KeyN
		return nil
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return n
}

func TestTokensAreForgottenOnceNobodyNeedsToBeToldOfThem(t *testing.T) {
	s := start(t)
	used, late := s.enrolment(agent, s.token(TokenRequest{For: agent})), s.enrolment(ps, s.token(TokenRequest{For: ps}))
	if _, err := hub.Enrol(t.Context(), used); err != nil {
		t.Fatal(err)
	}
	again := used
	again.Dir = t.TempDir() // of another host
	for _, c := range []struct {
		name       string
		ahead      time.Duration
		kept       int // with the one that is made then
		used, late string
	}{
		{"while they are good", time.Minute, 3, "used already", ""},
		{"behind their end", DefaultTokenLifetime + tokenMemory - time.Minute, 4, "it was good until", "it was good until"},
		{"long behind it", DefaultTokenLifetime + tokenMemory + 30*time.Second, 3, "no such token", "no such token"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s.ahead.Store(int64(c.ahead))
			s.token(TokenRequest{For: ps, Replace: true})
			if n := s.tokens(); n != c.kept {
				t.Errorf("%d tokens are kept, want %d", n, c.kept)
			}
			_, err := hub.Enrol(t.Context(), again)
			wantFault(t, err, "FS-6010", c.used)
			if c.late != "" {
				_, err := hub.Enrol(t.Context(), late)
				wantFault(t, err, "FS-6010", c.late)
			}
		})
	}
}
