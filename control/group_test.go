package control

import (
	"slices"
	"testing"

	"connectrpc.com/connect"

	"farshore"
	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/api/gen/farshore/v1/farshorev1connect"
	"farshore/dataplane/hub"
)

// groupOf asks what group a machine is told to belong to, as its agent would.
func (s *site) groupOf(agent farshorev1connect.HubServiceClient, machine string) *farshorev1.AgentGroup {
	s.t.Helper()
	observed := &farshorev1.SyncRequest_Agent{Agent: &farshorev1.AgentObserved{Machine: &farshorev1.MachineSpec{
		Id: machine, Nics: []*farshorev1.NicSpec{{Name: "lo", Addresses: []string{"127.0.0.1/8"}}, {Name: "eth0", Addresses: []string{"fe80::1/64", "10.0.0.4/24"}}},
	}}}
	answer, err := agent.Sync(s.t.Context(), connect.NewRequest(&farshorev1.SyncRequest{Observed: observed}))
	if err != nil {
		s.t.Fatal(err)
	}
	return answer.Msg.GetAgent().GetGroup()
}

func TestEachMachineHearsOfItsGroupAndOfItsEnd(t *testing.T) {
	s := newSite(t, "127.0.0.1:1")
	s.run()
	api := s.operator()
	agents := map[string]farshorev1connect.HubServiceClient{}
	for _, name := range []string{"app-01", "db-01", "web-01"} {
		client := hub.HTTPClient(s.join(api, farshore.RoleAgent, name))
		t.Cleanup(client.CloseIdleConnections)
		agents[name] = farshorev1connect.NewHubServiceClient(client, "https://"+s.config.Listen)
		if g := s.groupOf(agents[name], name); g != nil {
			t.Errorf("%s begins in group %v", name, g)
		}
	}
	set := func(name string, every uint32, members ...*farshorev1.AgentGroupMember) error {
		_, err := api.SetGroup(t.Context(), connect.NewRequest(&farshorev1.SetGroupRequest{Group: &farshorev1.AgentGroup{Name: name, EverySeconds: every, Members: members}}))
		return err
	}
	at := func(machine, address string) *farshorev1.AgentGroupMember {
		return &farshorev1.AgentGroupMember{Machine: machine, Address: address}
	}
	told := func(machine string) (words []string) {
		for _, m := range s.groupOf(agents[machine], machine).GetMembers() {
			words = append(words, m.GetMachine()+"="+m.GetAddress())
		}
		return words
	}
	if err := set("shop", 60, at("db-01", ""), at("app-01", "app:20014")); err != nil {
		t.Fatal(err)
	}
	if got, want := told("app-01"), []string{"app-01=app:20014", "db-01=10.0.0.4:20004"}; !slices.Equal(got, want) {
		t.Errorf("app-01 hears of %v, want %v", got, want)
	}
	wantFault(t, set("other", 60, at("db-01", ""), at("web-01", "")), "FS-6035")
	wantFault(t, set("shop", 1, at("db-01", ""), at("web-01", "")), "FS-6035")
	wantFault(t, set("shop", 60, at("db-01", ""), at("db-01", "")), "FS-6035")
	wantFault(t, set("shop", 60, at("db-01", "nowhere"), at("web-01", "")), "FS-6035")
	wantFault(t, set("shop", 60, at("db-01", ""), at("gone-01", "")), "FS-6017")

	if err := set("shop", 30, at("db-01", ""), at("web-01", "")); err != nil {
		t.Fatal(err)
	}
	if got := told("app-01"); len(got) > 0 {
		t.Errorf("app-01 was left out and hears of %v", got)
	}
	list, err := api.ListGroups(t.Context(), connect.NewRequest(&farshorev1.ListGroupsRequest{}))
	if err != nil || len(list.Msg.GetGroups()) != 1 || list.Msg.GetGroups()[0].GetGroup().GetEverySeconds() != 30 {
		t.Errorf("listed %v, %v", list, err)
	}
	end := func() error {
		_, err := api.RemoveGroup(t.Context(), connect.NewRequest(&farshorev1.RemoveGroupRequest{Name: "shop"}))
		return err
	}
	if err := end(); err != nil {
		t.Fatal(err)
	}
	if got := told("web-01"); len(got) > 0 {
		t.Errorf("the group has ended, and web-01 hears of %v", got)
	}
	wantFault(t, end(), "FS-6035")
}
