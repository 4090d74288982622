package armsim

import (
	"fmt"
	"net/http"
	"strings"
)

// Path is a scripted connection of a virtual network to somebody's home.
type Path struct {
	Network  string   // resource id of the virtual network that has the gateway
	Name     string   // of the connection
	Express  bool     // an ExpressRoute; else a VPN
	Status   string   // "Connected", "Connecting", "NotConnected", "Unknown"; "" is told as null
	Prefixes []string // of home, as a VPN's local network gateway names them
	Learned  []string // of home, as the gateway has learned them by BGP
	Peering  string   // state of an ExpressRoute's private peering: "Enabled", "Disabled"; "" if there is none
}

// SetPath makes a connection with all that belongs to it, or changes it.
func (s *Server) SetPath(p Path) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	network := s.resources[strings.ToLower(p.Network)]
	if network == nil {
		return fmt.Errorf("set path %s: network %s does not exist", p.Name, p.Network)
	}
	group, _, _ := strings.Cut(p.Network, "/virtualNetworks/")
	gateway := group + "/virtualNetworkGateways/" + nameOf(p.Network) + "-gateway"
	if p.Express {
		gateway += "-er"
	}
	s.keep(gateway, object{})
	s.routes[strings.ToLower(gateway)] = p.Learned
	addToGatewaySubnet(network, gateway)

	connection := object{"connectionType": "IPsec", "virtualNetworkGateway1": object{"id": gateway}, "enableBgp": len(p.Learned) > 0}
	if p.Status != "" {
		connection["connectionStatus"] = p.Status
	}
	if p.Express {
		circuit := group + "/expressRouteCircuits/" + p.Name
		connection["connectionType"], connection["peer"] = "ExpressRoute", object{"id": circuit}
		s.keep(circuit, circuitProperties(p.Peering))
	} else {
		home := group + "/localNetworkGateways/" + p.Name
		connection["localNetworkGateway2"] = object{"id": home}
		s.keep(home, object{"localNetworkAddressSpace": object{"addressPrefixes": p.Prefixes}})
	}
	s.keep(group+"/connections/"+p.Name, connection)
	return nil
}

// keep puts a resource in its final state. The caller holds the lock.
func (s *Server) keep(id string, properties object) {
	properties["provisioningState"] = "Succeeded"
	s.resources[strings.ToLower(id)] = object{"id": id, "name": id[strings.LastIndex(id, "/")+1:], "type": typeOf(id), "properties": properties}
}

func circuitProperties(peering string) object {
	p := object{"circuitProvisioningState": "Enabled", "serviceProviderProvisioningState": "Provisioned", "peerings": []object{}}
	if peering != "" {
		p["peerings"] = []object{{"name": "AzurePrivatePeering", "properties": object{"peeringType": "AzurePrivatePeering", "state": peering}}}
	}
	return p
}

// addToGatewaySubnet shows a gateway's IP configuration in its network, as ARM does.
func addToGatewaySubnet(network object, gateway string) {
	p := properties(network)
	subnets, _ := p["subnets"].([]any)
	for _, existing := range list(network, "properties.subnets") {
		if text(existing, "name") == "GatewaySubnet" {
			inner := properties(existing)
			configurations, _ := inner["ipConfigurations"].([]any)
			inner["ipConfigurations"] = append(configurations, object{"id": gateway + "/ipConfigurations/default"})
			return
		}
	}
	p["subnets"] = append(subnets, object{"name": "GatewaySubnet", "properties": object{
		"addressPrefix": "10.1.255.0/27", "ipConfigurations": []any{object{"id": gateway + "/ipConfigurations/default"}},
	}})
}

// connectionsOf lists a gateway's connections without their state, as Azure's lists do.
func (s *Server) connectionsOf(gateway string) []object {
	connections := []object{}
	for key, body := range s.resources {
		if !strings.Contains(key, "/microsoft.network/connections/") || !strings.EqualFold(text(body, "properties.virtualNetworkGateway1.id"), gateway) {
			continue
		}
		listed := object{}
		for name, value := range properties(body) {
			listed[name] = value
		}
		delete(listed, "connectionStatus")
		connections = append(connections, object{"id": body["id"], "name": body["name"], "type": body["type"], "properties": listed})
	}
	return connections
}

// tellRoutes answers with an operation whose location gives the routes in the end.
func (s *Server) tellRoutes(w http.ResponseWriter, r *http.Request, gateway string) {
	routes := []object{{"network": "10.1.0.0/16", "origin": "Network"}}
	for _, prefix := range s.routes[gateway] {
		routes = append(routes, object{"network": prefix, "origin": "EBgp", "nextHop": "192.0.2.1", "asPath": "65001"})
	}
	s.nextOp++
	name := fmt.Sprint(s.nextOp)
	s.operations[name] = &operation{pollsLeft: 1, done: true, result: object{"value": routes}}
	w.Header().Set("Location", "http://"+r.Host+operationPrefix+name+"?api-version="+r.URL.Query().Get("api-version"))
	w.Header().Set("Retry-After", "0")
	w.WriteHeader(http.StatusAccepted)
}
