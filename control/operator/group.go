package operator

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"connectrpc.com/connect"

	"farshore"
	stepsonnodes "farshore/activities/nodes"
	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/control/nodes"
	"farshore/dataplane/group"
	"farshore/dataplane/group/peers"
	"farshore/dataplane/hub"
	"farshore/fault"
)

// leastGroupEvery is the most often that a group makes points: each holds its machines for a moment.
const leastGroupEvery = 10

// groupFault is the code of what agents report of their group.
const groupFault = "FS-1031"

// SetGroup has machines make points together. Groups are kept where their machines hear of them: in what is desired of each.
func (s *Service) SetGroup(ctx context.Context, q *connect.Request[farshorev1.SetGroupRequest]) (*connect.Response[farshorev1.SetGroupResponse], error) {
	g := q.Msg.GetGroup()
	agents, err := s.agentsOf(g)
	if err != nil {
		return nil, err
	}
	for _, a := range agents {
		m := g.GetMembers()[slices.IndexFunc(g.GetMembers(), func(m *farshorev1.AgentGroupMember) bool { return m.GetMachine() == a.Identity.Name })]
		if m.GetAddress() == "" {
			m.Address = addressOf(a.Report.GetAgent().GetMachine())
		}
		if !hub.Dialable(m.GetAddress()) {
			return nil, badGroup(g.GetName(), fmt.Sprintf("machine %s cannot be dialled at %q", m.GetMachine(), m.GetAddress()),
				fmt.Sprintf("say where the others reach it: %s=HOST:%d", m.GetMachine(), peers.Port))
		}
	}
	slices.SortFunc(g.GetMembers(), func(a, b *farshorev1.AgentGroupMember) int { return strings.Compare(a.GetMachine(), b.GetMachine()) })
	if err := s.leaveOut(ctx, g.GetName(), g.GetMembers()); err != nil {
		return nil, err
	}
	for _, a := range agents {
		if err := stepsonnodes.SetGroup(ctx, s.Registry, farshore.MachineID(a.Identity.Name), g); err != nil {
			return nil, err
		}
	}
	return connect.NewResponse(&farshorev1.SetGroupResponse{Group: g}), nil
}

// agentsOf gives the agents of a group that can be.
func (s *Service) agentsOf(g *farshorev1.AgentGroup) ([]nodes.Node, error) {
	if _, err := farshore.ParseGroupID(g.GetName()); err != nil {
		return nil, err
	}
	members := g.GetMembers()
	if len(members) < group.MinMembers || len(members) > group.MaxMembers {
		return nil, badGroup(g.GetName(), fmt.Sprintf("it has %d machines", len(members)), fmt.Sprintf("name %d to %d machines", group.MinMembers, group.MaxMembers))
	}
	if g.GetEverySeconds() < leastGroupEvery {
		return nil, badGroup(g.GetName(), fmt.Sprintf("it shall make a point every %d s", g.GetEverySeconds()), fmt.Sprintf("its machines are held still for each: give %d s or more", leastGroupEvery))
	}
	var found []nodes.Node
	for i, m := range members {
		if slices.ContainsFunc(members[:i], func(o *farshorev1.AgentGroupMember) bool { return o.GetMachine() == m.GetMachine() }) {
			return nil, badGroup(g.GetName(), fmt.Sprintf("machine %s is named twice", m.GetMachine()), "name each machine once")
		}
		id := farshore.Identity{Role: farshore.RoleAgent, Name: m.GetMachine()}
		a, known, err := s.Registry.Find(id)
		if err != nil {
			return nil, err
		}
		if !known {
			return nil, nodes.NoSuchNode(id)
		}
		doc, _, err := s.Registry.Desired(id)
		if err != nil {
			return nil, err
		}
		if other := doc.GetAgent().GetGroup().GetName(); other != "" && other != g.GetName() {
			return nil, badGroup(g.GetName(), fmt.Sprintf("machine %s belongs to group %s", m.GetMachine(), other), "take it out of that one first: farshore group set "+other+" MACHINE...")
		}
		found = append(found, a)
	}
	return found, nil
}

// addressOf is where a machine is dialled unless somebody says otherwise: its first address that is not for itself alone.
func addressOf(m *farshorev1.MachineSpec) string {
	for _, nic := range m.GetNics() {
		for _, text := range nic.GetAddresses() {
			address, _, _ := strings.Cut(text, "/")
			ip, err := netip.ParseAddr(address)
			if err == nil && ip.IsGlobalUnicast() {
				return net.JoinHostPort(address, strconv.Itoa(peers.Port))
			}
		}
	}
	return ""
}

// leaveOut takes every machine out of a group but those that stay.
func (s *Service) leaveOut(ctx context.Context, name string, stay []*farshorev1.AgentGroupMember) error {
	agents, err := s.Registry.Enrolled(farshore.RoleAgent)
	if err != nil {
		return err
	}
	for _, id := range agents {
		doc, _, err := s.Registry.Desired(id)
		if err != nil {
			return err
		}
		stays := slices.ContainsFunc(stay, func(m *farshorev1.AgentGroupMember) bool { return m.GetMachine() == id.Name })
		if doc.GetAgent().GetGroup().GetName() != name || stays {
			continue
		}
		if err := stepsonnodes.SetGroup(ctx, s.Registry, farshore.MachineID(id.Name), nil); err != nil {
			return err
		}
	}
	return nil
}

// ListGroups lists the groups, in the order of their names.
func (s *Service) ListGroups(context.Context, *connect.Request[farshorev1.ListGroupsRequest]) (*connect.Response[farshorev1.ListGroupsResponse], error) {
	list, err := s.groups()
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&farshorev1.ListGroupsResponse{Groups: list}), nil
}

func (s *Service) groups() ([]*farshorev1.GroupState, error) {
	agents, err := s.Registry.List(farshore.RoleAgent)
	if err != nil {
		return nil, err
	}
	var found []*farshorev1.GroupState
	for _, a := range agents {
		doc, _, err := s.Registry.Desired(a.Identity)
		if err != nil {
			return nil, err
		}
		g := doc.GetAgent().GetGroup()
		if g.GetName() == "" {
			continue
		}
		i := slices.IndexFunc(found, func(o *farshorev1.GroupState) bool { return o.GetGroup().GetName() == g.GetName() })
		if i < 0 {
			i, found = len(found), append(found, &farshorev1.GroupState{Group: g})
		}
		for _, f := range a.Report.GetAgent().GetFaults() {
			if f.GetCode() == groupFault {
				found[i].Faults = append(found[i].Faults, f)
			}
		}
	}
	slices.SortFunc(found, func(a, b *farshorev1.GroupState) int {
		return strings.Compare(a.GetGroup().GetName(), b.GetGroup().GetName())
	})
	return found, nil
}

// RemoveGroup ends a group.
func (s *Service) RemoveGroup(ctx context.Context, q *connect.Request[farshorev1.RemoveGroupRequest]) (*connect.Response[farshorev1.RemoveGroupResponse], error) {
	list, err := s.groups()
	if err != nil {
		return nil, err
	}
	name := q.Msg.GetName()
	if !slices.ContainsFunc(list, func(g *farshorev1.GroupState) bool { return g.GetGroup().GetName() == name }) {
		return nil, badGroup(name, "there is no such group", "see: farshore group list")
	}
	return connect.NewResponse(&farshorev1.RemoveGroupResponse{}), s.leaveOut(ctx, name, nil)
}

func badGroup(name, what, remedy string) error {
	return &fault.Fault{Code: "FS-6035", Kind: fault.Refused, Subject: "group " + name, What: what, Remedy: remedy}
}
