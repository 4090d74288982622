package azure

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/network/armnetwork/v9"

	"farshore/activities"
	"farshore/fault"
)

// finding is what one connection, or the lack of one, means for the way home.
type finding struct {
	code   string // "" if the way is good
	kind   fault.Kind
	what   string
	remedy string
}

// The findings that stand in the way, the nearest to a way first: the first of several names the fault.
var (
	pathConnecting = finding{code: "FS-5205", kind: fault.Transient, what: "is connecting", remedy: "nothing: it is looked at again"}
	pathUncovered  = finding{
		code: "FS-5209", kind: fault.Operator, what: "is connected, but no route of it covers the address",
		remedy: "add the address's network to the local network gateway, or have home announce it by BGP",
	}
	pathNoPeering = finding{
		code: "FS-5208", kind: fault.Operator, what: "is an ExpressRoute circuit without enabled private peering",
		remedy: "have the provider provision the circuit and enable its private peering",
	}
	pathUnknown = finding{
		code: "FS-5207", kind: fault.Operator, what: "is in a state that Azure does not tell",
		remedy: "look at the connection in the portal; reset it if it stays so",
	}
	pathDown = finding{
		code: "FS-5206", kind: fault.Operator, what: "is not connected",
		remedy: "see that the VPN device at home is up and the shared keys agree; a reprotect that waits goes on by itself then",
	}
	pathNone = finding{
		code: "FS-5204", kind: fault.Operator, what: "has no VPN or ExpressRoute connection to home",
		remedy: "connect the network to home, or let the failback policy do without a private path",
	}
	pathOrder = []finding{pathConnecting, pathUncovered, pathNoPeering, pathUnknown, pathDown, pathNone}
)

// of names what a finding is about, with a detail that may be empty.
func (f finding) of(subject, detail string) finding {
	f.what = subject + " " + f.what
	if detail != "" {
		f.what += " (" + detail + ")"
	}
	return f
}

// checkPath implements [activities.CheckPath]: one connection that is up and whose routes cover the address is enough. If
// there is none, all that was found is told at once.
func (a *Adapter) checkPath(ctx context.Context, in activities.PathIn) (activities.PreflightOut, error) {
	addresses, err := resolve(ctx, in)
	if err != nil {
		return activities.PreflightOut{}, err
	}
	network, gateways, err := a.gatewaysOf(ctx, in)
	if err != nil {
		return activities.PreflightOut{}, err
	}
	var found []finding
	for _, gateway := range gateways {
		connections, err := a.connectionsOf(ctx, in, gateway)
		if err != nil {
			return activities.PreflightOut{}, err
		}
		for _, c := range connections {
			f, err := a.judgeConnection(ctx, in, way{gateway: gateway, connection: c, to: addresses})
			if err != nil {
				return activities.PreflightOut{}, err
			}
			found = append(found, f)
		}
	}
	if len(found) == 0 {
		found = append(found, pathNone.of("network "+network, ""))
	}
	return conclude(in, found)
}

// conclude gives the good ways, or the fault that tells everything found.
func conclude(in activities.PathIn, found []finding) (activities.PreflightOut, error) {
	var out activities.PreflightOut
	var bad []string
	for _, f := range found {
		if f.code == "" {
			out.Checks = append(out.Checks, f.what)
			continue
		}
		bad = append(bad, f.code+": "+f.what)
	}
	if len(out.Checks) > 0 {
		return out, nil
	}
	for _, o := range pathOrder {
		i := slices.IndexFunc(found, func(f finding) bool { return f.code == o.code })
		if i < 0 {
			continue
		}
		return out, &fault.Fault{
			Code: o.code, Kind: o.kind, Subject: "the way from " + in.Target.Network + " to " + in.Address,
			What: strings.Join(bad, "; "), Remedy: o.remedy,
		}
	}
	panic(fmt.Sprintf("findings %v are not in the order of findings", bad))
}

// resolve gives the addresses that must be covered.
func resolve(ctx context.Context, in activities.PathIn) ([]netip.Addr, error) {
	host, _, err := net.SplitHostPort(in.Address)
	var addresses []netip.Addr
	if err == nil {
		addresses, err = net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	}
	if err != nil {
		return nil, &fault.Fault{
			Code: "FS-5212", Kind: fault.Operator, Subject: "address " + in.Address, What: "it names no host that is known here",
			Remedy: "give host:port, with an address or a name that the configuration server resolves", Err: err,
		}
	}
	for i := range addresses {
		addresses[i] = addresses[i].Unmap()
	}
	return addresses, nil
}

// gatewaysOf finds the gateways of the target's network: its own, or those of the network whose gateways it uses (a hub).
func (a *Adapter) gatewaysOf(ctx context.Context, in activities.PathIn) (network string, gateways []*arm.ResourceID, err error) {
	networks := a.network.NewVirtualNetworksClient()
	found, err := networks.Get(ctx, in.Target.ResourceGroup, in.Target.Network, nil)
	if err != nil {
		return "", nil, explain(in.Place, "find the network "+in.Target.Network, err)
	}
	here := found.VirtualNetwork
	if hub := hubOf(here); hub != nil {
		remote, err := networks.Get(ctx, hub.ResourceGroupName, hub.Name, nil)
		if err != nil {
			return "", nil, explain(in.Place, "find the network "+hub.Name, err)
		}
		here = remote.VirtualNetwork
	}
	return *here.Name, gatewaysIn(here), nil
}

// hubOf is the peered network whose gateways a network uses, if there is one.
func hubOf(n armnetwork.VirtualNetwork) *arm.ResourceID {
	if n.Properties == nil {
		return nil
	}
	for _, p := range n.Properties.VirtualNetworkPeerings {
		q := p.Properties
		if q == nil || q.UseRemoteGateways == nil || !*q.UseRemoteGateways || q.RemoteVirtualNetwork == nil || q.RemoteVirtualNetwork.ID == nil {
			continue
		}
		if id, err := arm.ParseResourceID(*q.RemoteVirtualNetwork.ID); err == nil {
			return id
		}
	}
	return nil
}

// gatewaysIn are the gateways whose IP configurations stand in the network's gateway subnet.
func gatewaysIn(n armnetwork.VirtualNetwork) []*arm.ResourceID {
	var gateways []*arm.ResourceID
	if n.Properties == nil {
		return nil
	}
	for _, s := range n.Properties.Subnets {
		if s.Properties == nil {
			continue
		}
		for _, c := range s.Properties.IPConfigurations {
			if c.ID == nil {
				continue
			}
			id, err := arm.ParseResourceID(*c.ID)
			if err != nil || id.Parent == nil || !strings.EqualFold(id.Parent.ResourceType.Type, "virtualNetworkGateways") {
				continue
			}
			known := func(g *arm.ResourceID) bool { return strings.EqualFold(g.String(), id.Parent.String()) }
			if !slices.ContainsFunc(gateways, known) {
				gateways = append(gateways, id.Parent)
			}
		}
	}
	return gateways
}

// connectionsOf lists a gateway's connections and then gets each: a list answers null for their state.
func (a *Adapter) connectionsOf(ctx context.Context, in activities.PathIn, gateway *arm.ResourceID) ([]armnetwork.VirtualNetworkGatewayConnection, error) {
	var connections []armnetwork.VirtualNetworkGatewayConnection
	pager := a.network.NewVirtualNetworkGatewaysClient().NewListConnectionsPager(gateway.ResourceGroupName, gateway.Name, nil)
	for pager.More() {
		page, err := pager.NextPage(ctx)
		if err != nil {
			return nil, explain(in.Place, "list the connections of gateway "+gateway.Name, err)
		}
		for _, c := range page.Value {
			id, err := arm.ParseResourceID(*c.ID)
			if err != nil {
				return nil, fmt.Errorf("understand the connection %s: %w", *c.ID, err)
			}
			got, err := a.network.NewVirtualNetworkGatewayConnectionsClient().Get(ctx, id.ResourceGroupName, id.Name, nil)
			if err != nil {
				return nil, explain(in.Place, "look at connection "+id.Name, err)
			}
			connections = append(connections, got.VirtualNetworkGatewayConnection)
		}
	}
	return connections, nil
}

// way is one connection that may lead home.
type way struct {
	gateway    *arm.ResourceID
	connection armnetwork.VirtualNetworkGatewayConnection
	to         []netip.Addr
}

// express reports whether the way is an ExpressRoute.
func (w way) express() bool {
	kind := w.connection.Properties.ConnectionType
	return kind != nil && *kind == armnetwork.VirtualNetworkGatewayConnectionTypeExpressRoute
}

// learns reports whether the gateway hears from home by BGP what there is.
func (w way) learns() bool {
	bgp := w.connection.Properties.EnableBgp
	return w.express() || bgp != nil && *bgp
}

// judgeConnection says what a connection is worth. Only a failed look is an error.
func (a *Adapter) judgeConnection(ctx context.Context, in activities.PathIn, w way) (finding, error) {
	name, p := "connection "+*w.connection.Name, w.connection.Properties
	if p == nil || p.ConnectionStatus == nil {
		return pathUnknown.of(name, ""), nil
	}
	if w.express() {
		lack, err := a.circuitLack(ctx, in, p.Peer)
		if err != nil || lack != "" {
			return pathNoPeering.of(name, lack), err
		}
	}
	switch *p.ConnectionStatus {
	case armnetwork.VirtualNetworkGatewayConnectionStatusConnected:
	case armnetwork.VirtualNetworkGatewayConnectionStatusConnecting:
		return pathConnecting.of(name, ""), nil
	case armnetwork.VirtualNetworkGatewayConnectionStatusNotConnected:
		return pathDown.of(name, ""), nil
	case armnetwork.VirtualNetworkGatewayConnectionStatusUnknown:
		return pathUnknown.of(name, ""), nil
	}
	prefixes, err := a.prefixesOf(ctx, in, w)
	if err != nil {
		return finding{}, err
	}
	for _, address := range w.to {
		if !covered(prefixes, address) {
			return pathUncovered.of(name, address.String()+"; routes: "+strings.Join(prefixes, ", ")), nil
		}
	}
	return finding{what: name + " is connected and covers " + in.Address}, nil
}

// circuitLack says what an ExpressRoute circuit lacks to carry private traffic; "" if nothing.
func (a *Adapter) circuitLack(ctx context.Context, in activities.PathIn, peer *armnetwork.SubResource) (string, error) {
	if peer == nil || peer.ID == nil {
		return "no circuit", nil
	}
	id, err := arm.ParseResourceID(*peer.ID)
	if err != nil {
		return "", fmt.Errorf("understand the circuit %s: %w", *peer.ID, err)
	}
	c, err := a.network.NewExpressRouteCircuitsClient().Get(ctx, id.ResourceGroupName, id.Name, nil)
	if notFound(err) {
		return "circuit " + id.Name + " does not exist", nil
	}
	if err != nil {
		return "", explain(in.Place, "look at circuit "+id.Name, err)
	}
	p := c.Properties
	switch {
	case p == nil || p.CircuitProvisioningState == nil || *p.CircuitProvisioningState != "Enabled":
		return "circuit " + id.Name + " is not enabled", nil
	case p.ServiceProviderProvisioningState == nil || *p.ServiceProviderProvisioningState != armnetwork.ServiceProviderProvisioningStateProvisioned:
		return "the provider has not provisioned circuit " + id.Name, nil
	}
	for _, q := range p.Peerings {
		private := q.Properties != nil && q.Properties.PeeringType != nil && *q.Properties.PeeringType == armnetwork.ExpressRoutePeeringTypeAzurePrivatePeering
		if private && q.Properties.State != nil && *q.Properties.State == armnetwork.ExpressRoutePeeringStateEnabled {
			return "", nil
		}
	}
	return "circuit " + id.Name, nil
}

// prefixesOf are the networks that a connection leads to: what its local network gateway names, and what the gateway has
// learned from routers.
func (a *Adapter) prefixesOf(ctx context.Context, in activities.PathIn, w way) ([]string, error) {
	var prefixes []string
	if local := w.connection.Properties.LocalNetworkGateway2; local != nil && local.ID != nil {
		id, err := arm.ParseResourceID(*local.ID)
		if err != nil {
			return nil, fmt.Errorf("understand the local network gateway %s: %w", *local.ID, err)
		}
		g, err := a.network.NewLocalNetworkGatewaysClient().Get(ctx, id.ResourceGroupName, id.Name, nil)
		if err != nil {
			return nil, explain(in.Place, "look at local network gateway "+id.Name, err)
		}
		if g.Properties != nil && g.Properties.LocalNetworkAddressSpace != nil {
			for _, prefix := range g.Properties.LocalNetworkAddressSpace.AddressPrefixes {
				prefixes = append(prefixes, *prefix)
			}
		}
	}
	if !w.learns() {
		return prefixes, nil
	}
	learned, err := a.learnedRoutes(ctx, in, w.gateway)
	return append(prefixes, learned...), err
}

// learnedRoutes are the networks that a gateway knows from routers outside Azure.
func (a *Adapter) learnedRoutes(ctx context.Context, in activities.PathIn, gateway *arm.ResourceID) ([]string, error) {
	routes, err := do(ctx, a, gateway.Name+" routes", func(token string) (*runtime.Poller[armnetwork.VirtualNetworkGatewaysClientGetLearnedRoutesResponse], error) {
		return a.network.NewVirtualNetworkGatewaysClient().BeginGetLearnedRoutes(ctx, gateway.ResourceGroupName, gateway.Name,
			&armnetwork.VirtualNetworkGatewaysClientBeginGetLearnedRoutesOptions{ResumeToken: token})
	})
	if err != nil {
		return nil, explain(in.Place, "ask gateway "+gateway.Name+" for its routes", err)
	}
	const outside = "EBgp"
	var prefixes []string
	for _, r := range routes.Value {
		if r.Network != nil && r.Origin != nil && strings.EqualFold(*r.Origin, outside) {
			prefixes = append(prefixes, *r.Network)
		}
	}
	return prefixes, nil
}

// covered reports whether one of the networks holds the address. A default route does: it leads home by force.
func covered(prefixes []string, address netip.Addr) bool {
	return slices.ContainsFunc(prefixes, func(text string) bool {
		prefix, err := netip.ParsePrefix(text)
		return err == nil && prefix.Contains(address)
	})
}
