package nodes

import (
	"context"
	"slices"
	"time"

	"farshore"
	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/dataplane/hub"
)

// Hub is the configuration server's end of the hub: the desired and the observed documents of all nodes.
type Hub interface {
	// SetDesired changes what is desired of a node. change may run more than once.
	SetDesired(ctx context.Context, id farshore.Identity, change func(*farshorev1.SyncResponse)) error
	// Desired is what is desired of a node, with its version; ok is false if nothing ever was.
	Desired(id farshore.Identity) (document *farshorev1.SyncResponse, ok bool, err error)
	// Observed is what a node last reported, and when; ok is false if it never did. Of a machine with several bodies it is
	// what the wanted one reported, or if none is wanted the last that did.
	Observed(id farshore.Identity) (report *farshorev1.SyncRequest, at time.Time, ok bool)
	// Instances lists the bodies of a machine that have reported, the last first; ObservedOf is what one of them said.
	Instances(id farshore.Identity) []string
	ObservedOf(id farshore.Identity, instance string) (report *farshorev1.SyncRequest, at time.Time, ok bool)
	// Enrolled lists the nodes of a role in the order of their names.
	Enrolled(role farshore.Role) ([]farshore.Identity, error)
}

func agent(m farshore.MachineID) farshore.Identity {
	return farshore.Identity{Role: farshore.RoleAgent, Name: string(m)}
}

// current gives the last report of an agent if it was made while acting on what is desired now.
func current(h Hub, m farshore.MachineID) (*farshorev1.AgentObserved, bool, error) {
	desired, ok, err := h.Desired(agent(m))
	if err != nil || !ok {
		return nil, false, err
	}
	report, _, ok := h.Observed(agent(m))
	if !ok || report.GetAgent() == nil || hub.CompareVersions(report.GetHave(), desired.GetVersion()) < 0 {
		return nil, false, nil
	}
	return report.GetAgent(), true, nil
}

// setAgent changes what is desired of a machine's agent.
func setAgent(ctx context.Context, h Hub, m farshore.MachineID, change func(*farshorev1.AgentDesired)) error {
	return h.SetDesired(ctx, agent(m), func(doc *farshorev1.SyncResponse) {
		d := doc.GetAgent()
		if d == nil {
			d = &farshorev1.AgentDesired{}
		}
		change(d)
		doc.Desired = &farshorev1.SyncResponse_Agent{Agent: d}
	})
}

// SetGroup changes which group a machine makes points with; nil: none.
func SetGroup(ctx context.Context, h Hub, m farshore.MachineID, g *farshorev1.AgentGroup) error {
	return setAgent(ctx, h, m, func(d *farshorev1.AgentDesired) { d.Group = g })
}

// SetServer changes what is desired of a process server.
func SetServer(ctx context.Context, h Hub, name string, change func(*farshorev1.ProcessServerDesired)) error {
	return h.SetDesired(ctx, farshore.Identity{Role: farshore.RoleProcessServer, Name: name}, func(doc *farshorev1.SyncResponse) {
		d := doc.GetProcessServer()
		if d == nil {
			d = &farshorev1.ProcessServerDesired{}
		}
		change(d)
		doc.Desired = &farshorev1.SyncResponse_ProcessServer{ProcessServer: d}
	})
}

// SetApplier changes what is desired of an applier.
func SetApplier(ctx context.Context, h Hub, id farshore.Identity, change func(*farshorev1.ApplierDesired)) error {
	return h.SetDesired(ctx, id, func(doc *farshorev1.SyncResponse) {
		d := doc.GetApplier()
		if d == nil {
			d = &farshorev1.ApplierDesired{}
		}
		change(d)
		doc.Desired = &farshorev1.SyncResponse_Applier{Applier: d}
	})
}

// setApplies says whether an applier shall keep the replica of a machine.
func setApplies(ctx context.Context, h Hub, id farshore.Identity, m farshore.MachineID, apply bool) error {
	return SetApplier(ctx, h, id, func(d *farshorev1.ApplierDesired) {
		d.Machines = with(d.GetMachines(), string(m), apply)
		if !apply {
			delete(d.Rebuilds, string(m))
		}
	})
}

// with gives the sorted list with or without a name.
func with(list []string, name string, in bool) []string {
	list = slices.DeleteFunc(slices.Clone(list), func(s string) bool { return s == name })
	if in {
		list = append(list, name)
	}
	slices.Sort(list)
	return list
}

// ApplierOf finds the applier that keeps a machine's replica; ok is false if none does.
func ApplierOf(h Hub, m farshore.MachineID) (farshore.Identity, bool, error) {
	appliers, err := h.Enrolled(farshore.RoleApplier)
	if err != nil {
		return farshore.Identity{}, false, err
	}
	for _, id := range appliers {
		doc, ok, err := h.Desired(id)
		if err != nil {
			return farshore.Identity{}, false, err
		}
		if ok && slices.Contains(doc.GetApplier().GetMachines(), string(m)) {
			return id, true, nil
		}
	}
	return farshore.Identity{}, false, nil
}
