package azure

import (
	"context"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/network/armnetwork/v9"

	"farshore/activities"
)

const (
	// isolatedRange is the address range of a test's own network. It meets nothing, so it may be the same for every test.
	isolatedRange = "10.255.0.0/24"
	isolatedName  = "isolated"
)

// ensureTestNetwork implements [activities.EnsureTestNetwork].
func (a *Adapter) ensureTestNetwork(ctx context.Context, in activities.Place) (activities.TestNetworkOut, error) {
	if name := in.Target.TestNetwork; name != "" {
		id, err := a.findSubnet(ctx, in, name, in.Target.Subnet)
		return activities.TestNetworkOut{SubnetID: id}, err
	}
	group, err := a.isolatingGroup(ctx, in)
	if err != nil {
		return activities.TestNetworkOut{}, err
	}
	name, location := in.Run.Resource("net"), in.Target.Location
	made, err := do(ctx, a, name, func(token string) (*runtime.Poller[armnetwork.VirtualNetworksClientCreateOrUpdateResponse], error) {
		return a.network.NewVirtualNetworksClient().BeginCreateOrUpdate(ctx, in.Target.ResourceGroup, name, armnetwork.VirtualNetwork{
			Location: &location, Tags: tagMap(in),
			Properties: &armnetwork.VirtualNetworkPropertiesFormat{
				AddressSpace: &armnetwork.AddressSpace{AddressPrefixes: []*string{to.Ptr(isolatedRange)}},
				Subnets: []*armnetwork.Subnet{{Name: to.Ptr(isolatedName), Properties: &armnetwork.SubnetPropertiesFormat{
					AddressPrefix: to.Ptr(isolatedRange), NetworkSecurityGroup: &armnetwork.SecurityGroup{ID: &group},
				}}},
			},
		}, &armnetwork.VirtualNetworksClientBeginCreateOrUpdateOptions{ResumeToken: token})
	})
	if err != nil {
		return activities.TestNetworkOut{}, explain(in, "make the isolated network "+name, err)
	}
	return activities.TestNetworkOut{SubnetID: *made.ID + "/subnets/" + isolatedName, Isolated: true}, nil
}

// isolatingGroup makes the security group that lets nothing out of the test network and nothing in from elsewhere.
func (a *Adapter) isolatingGroup(ctx context.Context, in activities.Place) (id string, err error) {
	name, location := in.Run.Resource("nsg"), in.Target.Location
	made, err := do(ctx, a, name, func(token string) (*runtime.Poller[armnetwork.SecurityGroupsClientCreateOrUpdateResponse], error) {
		return a.network.NewSecurityGroupsClient().BeginCreateOrUpdate(ctx, in.Target.ResourceGroup, name, armnetwork.SecurityGroup{
			Location: &location, Tags: tagMap(in),
			Properties: &armnetwork.SecurityGroupPropertiesFormat{SecurityRules: []*armnetwork.SecurityRule{
				deny("farshore-deny-out", armnetwork.SecurityRuleDirectionOutbound, isolatedRange, "*"),
				deny("farshore-deny-in", armnetwork.SecurityRuleDirectionInbound, "*", isolatedRange),
			}},
		}, &armnetwork.SecurityGroupsClientBeginCreateOrUpdateOptions{ResumeToken: token})
	})
	if err != nil {
		return "", explain(in, "make the security group "+name, err)
	}
	return *made.ID, nil
}

// lowestPriority stands before Azure's own rules, which allow the virtual network and the internet.
const lowestPriority = 4096

func deny(name string, direction armnetwork.SecurityRuleDirection, source, destination string) *armnetwork.SecurityRule {
	return &armnetwork.SecurityRule{Name: &name, Properties: &armnetwork.SecurityRulePropertiesFormat{
		Access: to.Ptr(armnetwork.SecurityRuleAccessDeny), Direction: &direction, Protocol: to.Ptr(armnetwork.SecurityRuleProtocolAsterisk),
		Priority: to.Ptr(int32(lowestPriority)), SourceAddressPrefix: &source, SourcePortRange: to.Ptr("*"),
		DestinationAddressPrefix: &destination, DestinationPortRange: to.Ptr("*"),
	}}
}

// findSubnet looks a subnet up; an empty name means the network's first.
func (a *Adapter) findSubnet(ctx context.Context, in activities.Place, network, subnet string) (id string, err error) {
	found, err := a.network.NewVirtualNetworksClient().Get(ctx, in.Target.ResourceGroup, network, nil)
	if err != nil {
		return "", explain(in, "find the network "+network, err)
	}
	if found.Properties != nil {
		for _, s := range found.Properties.Subnets {
			if subnet == "" || *s.Name == subnet {
				return *found.ID + "/subnets/" + *s.Name, nil
			}
		}
	}
	return "", missing(in, "network "+network+" has no subnet "+subnet)
}

// createNIC implements [activities.CreateNIC]. A test never takes the machine's static address: it may be in use at home.
func (a *Adapter) createNIC(ctx context.Context, in activities.CreateNICIn) (activities.CreateNICOut, error) {
	subnet := in.SubnetID
	if subnet == "" {
		var err error
		if subnet, err = a.findSubnet(ctx, in.Place, in.Target.Network, in.Target.Subnet); err != nil {
			return activities.CreateNICOut{}, err
		}
	}
	ip := &armnetwork.InterfaceIPConfigurationPropertiesFormat{
		Subnet: &armnetwork.Subnet{ID: &subnet}, PrivateIPAllocationMethod: to.Ptr(armnetwork.IPAllocationMethodDynamic),
	}
	if address := in.Target.StaticAddress; address != "" && in.Run.Kind == activities.FailoverRun {
		ip.PrivateIPAddress, ip.PrivateIPAllocationMethod = &address, to.Ptr(armnetwork.IPAllocationMethodStatic)
	}
	return a.putInterface(ctx, in.Place, in.Run.Resource("nic"), tagMap(in.Place), ip)
}

// putInterface makes an interface of the run with one address.
func (a *Adapter) putInterface(
	ctx context.Context, in activities.Place, name string, tags map[string]*string, ip *armnetwork.InterfaceIPConfigurationPropertiesFormat,
) (activities.CreateNICOut, error) {
	made, err := do(ctx, a, name, func(token string) (*runtime.Poller[armnetwork.InterfacesClientCreateOrUpdateResponse], error) {
		return a.network.NewInterfacesClient().BeginCreateOrUpdate(ctx, in.Target.ResourceGroup, name, armnetwork.Interface{
			Location: &in.Target.Location, Tags: tags,
			Properties: &armnetwork.InterfacePropertiesFormat{
				IPConfigurations: []*armnetwork.InterfaceIPConfiguration{{Name: to.Ptr("primary"), Properties: ip}},
			},
		}, &armnetwork.InterfacesClientBeginCreateOrUpdateOptions{ResumeToken: token})
	})
	if err != nil {
		return activities.CreateNICOut{}, explain(in, "make the network interface "+name, err)
	}
	out := activities.CreateNICOut{ID: *made.ID}
	if c := made.Properties.IPConfigurations; len(c) > 0 && c[0].Properties.PrivateIPAddress != nil {
		out.Address = *c[0].Properties.PrivateIPAddress
	}
	return out, nil
}
