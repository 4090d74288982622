package armsim

import "strings"

// Furnishing is what a customer has before a disaster: a resource group with a virtual network of one subnet.
type Furnishing struct {
	Subscription, Group, Location, Network, Subnet string
}

// Furnish makes it.
func (s *Server) Furnish(f Furnishing) {
	s.mu.Lock()
	defer s.mu.Unlock()
	group := "/subscriptions/" + f.Subscription + "/resourceGroups/" + f.Group
	network := group + "/providers/Microsoft.Network/virtualNetworks/" + f.Network
	subnet := object{"name": f.Subnet, "properties": object{"addressPrefix": "10.1.0.0/24"}}
	s.keep(group, object{})
	s.keep(network, object{"addressSpace": object{"addressPrefixes": []any{"10.1.0.0/16"}}, "subnets": []any{subnet}})
	body := s.resources[strings.ToLower(network)]
	s.resources[strings.ToLower(group)]["location"], body["location"] = f.Location, f.Location
	s.keepSubnets(strings.ToLower(network), body)
}
