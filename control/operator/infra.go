package operator

import (
	"cmp"
	"context"
	"net"

	"connectrpc.com/connect"

	"farshore"
	stepsonnodes "farshore/activities/nodes"
	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/control/nodes"
	"farshore/dataplane/hub"
	"farshore/fault"
)

// ChangeProcessServer changes what is desired of a process server: to be drained, or another address.
func (s *Service) ChangeProcessServer(
	ctx context.Context, q *connect.Request[farshorev1.ChangeProcessServerRequest],
) (*connect.Response[farshorev1.ChangeProcessServerResponse], error) {
	id := farshore.Identity{Role: farshore.RoleProcessServer, Name: q.Msg.GetName()}
	if err := s.mayChange(id, q.Msg); err != nil {
		return nil, err
	}
	err := stepsonnodes.SetServer(ctx, s.Registry, id.Name, func(d *farshorev1.ProcessServerDesired) {
		if q.Msg.Drain != nil {
			d.Drain = q.Msg.GetDrain()
		}
		if q.Msg.Listen != nil {
			d.Listen, d.Address = q.Msg.GetListen(), q.Msg.GetAddress()
		}
	})
	return connect.NewResponse(&farshorev1.ChangeProcessServerResponse{}), err
}

// mayChange says why a process server cannot be changed so.
func (s *Service) mayChange(id farshore.Identity, q *farshorev1.ChangeProcessServerRequest) error {
	list, err := s.Registry.List(farshore.RoleProcessServer)
	if err != nil {
		return err
	}
	known, others := false, false
	for _, n := range list {
		if n.Identity == id {
			known = true
			continue
		}
		doc, _, err := s.Registry.Desired(n.Identity)
		if err != nil {
			return err
		}
		others = others || n.Connected && !doc.GetProcessServer().GetDrain()
	}
	switch {
	case !known:
		return nodes.NoSuchNode(id)
	case q.GetDrain() && !others:
		return &fault.Fault{
			Code: "FS-6018", Kind: fault.Refused, Subject: id.String(), What: "there is no other process server that its machines could go to",
			Remedy: "add one: farshore token create --role process-server --name NAME; see docs/operate/dataplane.md",
		}
	case q.Listen != nil && q.GetListen() != "" && (!listenable(q.GetListen()) || !hub.Dialable(cmp.Or(q.GetAddress(), q.GetListen()))):
		return &fault.Fault{
			Code: "FS-6014", Kind: fault.Refused, Subject: id.String(), What: "agents cannot dial " + cmp.Or(q.GetAddress(), q.GetListen()),
			Remedy: "give listen as HOST:PORT, and address as agents reach it if listen is for all addresses of the host",
		}
	}
	return nil
}

// listenable reports whether an address names a port, of one address of a host or of all.
func listenable(address string) bool {
	_, port, err := net.SplitHostPort(address)
	return err == nil && port != ""
}

// RebuildReplica has the applier that keeps a machine's replica make it anew. Numbers of rebuilds never go back, not even when
// this server was restored from a backup: they are times.
func (s *Service) RebuildReplica(
	ctx context.Context, q *connect.Request[farshorev1.RebuildReplicaRequest],
) (*connect.Response[farshorev1.RebuildReplicaResponse], error) {
	machine, err := farshore.ParseMachineID(q.Msg.GetMachine())
	if err != nil {
		return nil, err
	}
	applier, ok, err := stepsonnodes.ApplierOf(s.Registry, machine)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, &fault.Fault{
			Code: "FS-6019", Kind: fault.Refused, Subject: "machine " + string(machine), What: "no applier keeps a replica of it",
			Remedy: "protect it: farshore machine enable " + string(machine),
		}
	}
	number := uint64(s.Now().Unix())
	err = stepsonnodes.SetApplier(ctx, s.Registry, applier, func(d *farshorev1.ApplierDesired) {
		if d.Rebuilds == nil {
			d.Rebuilds = map[string]uint64{}
		}
		number = max(number, d.Rebuilds[string(machine)]+1)
		d.Rebuilds[string(machine)] = number
	})
	return connect.NewResponse(&farshorev1.RebuildReplicaResponse{Applier: applier.Name, Number: number}), err
}
