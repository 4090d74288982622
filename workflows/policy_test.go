package workflows

import (
	"testing"

	"farshore"
	"farshore/activities"
)

func TestANewPolicyReachesTheNodesAtOnceOrWithTheNextTimeThatTheyHear(t *testing.T) {
	s := tell(t, newWorld())
	early := s.ask(farshore.SetPolicy, activities.Request{Policy: new(farshore.DefaultPolicy())})
	tiers := farshore.DefaultPolicy()
	tiers.Name, tiers.Keep = "custom", "all:6h,daily:30d"
	enable := s.ask(farshore.Enable, activities.Request{Target: target()})
	s.expect("protected", in(farshore.Protected, farshore.Primary))
	bad := s.ask(farshore.SetPolicy, activities.Request{Policy: &farshore.ReplicationPolicy{RetentionHours: 24}})
	none := s.ask(farshore.SetPolicy, activities.Request{})
	set := s.ask(farshore.SetPolicy, activities.Request{Policy: &tiers})
	s.expect("told", func(st activities.Status) bool { return st.Policy == tiers && s.w.policy == tiers })
	pause := s.ask(farshore.Pause, activities.Request{})
	slower := tiers
	slower.CrashEverySeconds = 300
	again := s.ask(farshore.SetPolicy, activities.Request{Policy: &slower})
	s.expect("told while it is paused, and paused still", func(st activities.Status) bool {
		return st.Policy == slower && s.w.policy == slower && s.w.replicate == activities.ReplicatePaused
	})
	s.end()
	s.wantFine(enable, set, pause, again)
	s.wantFault(early, "FS-7001")
	s.wantFault(bad, "FS-7003")
	s.wantFault(none, "FS-7003")
}
