package armsim

import (
	"net/http"
	"net/netip"
	"strings"
)

// accept checks a resource that a PUT wants, and says what work makes it. The caller holds the lock.
func (s *Server) accept(key string, body object) (work, *armError) {
	switch {
	case strings.Contains(key, "/microsoft.network/networkinterfaces/"):
		return nil, s.acceptInterface(key, body)
	case strings.Contains(key, "/microsoft.network/virtualnetworks/") && strings.Contains(key, "/subnets/"):
		return nil, s.acceptSubnet(key, body)
	case strings.Contains(key, "/microsoft.network/virtualnetworks/"):
		s.keepSubnets(key, body)
	case strings.Contains(key, "/microsoft.compute/disks/"):
		return s.acceptDisk(key, body)
	case strings.Contains(key, "/microsoft.compute/virtualmachines/"):
		return s.acceptMachine(key, body)
	}
	return nil, nil
}

// keepSubnets keeps the subnets that a network's body brings along as resources of their own, as ARM does.
func (s *Server) keepSubnets(key string, body object) {
	for _, subnet := range list(body, "properties.subnets") {
		name := text(subnet, "name")
		subnet["id"] = text(body, "id") + "/subnets/" + name
		subnet["type"] = "Microsoft.Network/virtualNetworks/subnets"
		properties(subnet)["provisioningState"] = "Succeeded"
		s.resources[key+"/subnets/"+strings.ToLower(name)] = subnet
	}
}

func (s *Server) acceptSubnet(key string, body object) *armError {
	network, _, _ := strings.Cut(key, "/subnets/")
	if s.resources[network] == nil {
		return refuse(http.StatusNotFound, "ResourceNotFound", "virtual network %s does not exist", network)
	}
	if _, err := netip.ParsePrefix(text(body, "properties.addressPrefix")); err != nil {
		return refuse(http.StatusBadRequest, "InvalidAddressPrefixFormat", "the address prefix is not valid: %v", err)
	}
	return nil
}

func (s *Server) acceptInterface(key string, body object) *armError {
	configurations := list(body, "properties.ipConfigurations")
	if len(configurations) == 0 {
		return refuse(http.StatusBadRequest, "InvalidRequestFormat", "an interface needs an IP configuration")
	}
	for _, c := range configurations {
		subnet := s.resources[strings.ToLower(text(c, "properties.subnet.id"))]
		if subnet == nil {
			return refuse(http.StatusBadRequest, "InvalidResourceReference", "subnet %q does not exist", text(c, "properties.subnet.id"))
		}
		if err := s.assignAddress(key, c, subnet); err != nil {
			return err
		}
	}
	return nil
}

// assignAddress checks a static address, or takes the first free one of the subnet.
func (s *Server) assignAddress(key string, configuration, subnet object) *armError {
	prefix, err := netip.ParsePrefix(subnetPrefix(subnet))
	if err != nil {
		return refuse(http.StatusBadRequest, "InvalidAddressPrefixFormat", "%v", err)
	}
	if wanted := text(configuration, "properties.privateIPAddress"); wanted != "" {
		address, err := netip.ParseAddr(wanted)
		if err != nil || !prefix.Contains(address) {
			return refuse(http.StatusBadRequest, "PrivateIPAddressNotInSubnet", "%s is not in %s", wanted, prefix)
		}
		if user := s.addressUser(wanted, key); user != "" {
			return refuse(http.StatusBadRequest, "PrivateIPAddressInUse", "%s is used by %s", wanted, user)
		}
		return nil
	}
	address := prefix.Masked().Addr()
	for range 4 { // Azure keeps the first four addresses of a subnet
		address = address.Next()
	}
	for ; prefix.Contains(address); address = address.Next() {
		if s.addressUser(address.String(), key) == "" {
			properties(configuration)["privateIPAddress"] = address.String()
			return nil
		}
	}
	return refuse(http.StatusBadRequest, "SubnetIsFull", "%s has no free address", prefix)
}

// subnetPrefix is the address range of a subnet, whichever of ARM's two forms was used.
func subnetPrefix(subnet object) string {
	if prefixes, ok := at(subnet, "properties.addressPrefixes").([]any); ok && len(prefixes) > 0 {
		prefix, _ := prefixes[0].(string)
		return prefix
	}
	return text(subnet, "properties.addressPrefix")
}

// addressUser names the interface, other than key, that holds an address.
func (s *Server) addressUser(address, key string) string {
	for other, body := range s.resources {
		if other == key || !strings.Contains(other, "/networkinterfaces/") {
			continue
		}
		for _, c := range list(body, "properties.ipConfigurations") {
			if text(c, "properties.privateIPAddress") == address {
				return other
			}
		}
	}
	return ""
}

// addressFree reports whether an address lies in a subnet of the network and nobody holds it.
func (s *Server) addressFree(network, address string) bool {
	wanted, err := netip.ParseAddr(address)
	if err != nil || s.addressUser(address, "") != "" {
		return false
	}
	for key, body := range s.resources {
		prefix, err := netip.ParsePrefix(subnetPrefix(body))
		if strings.HasPrefix(key, network+"/subnets/") && err == nil && prefix.Contains(wanted) {
			return true
		}
	}
	return false
}
