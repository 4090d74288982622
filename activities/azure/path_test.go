package azure

import (
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/network/armnetwork/v9"

	"farshore/activities"
	"farshore/fault"
	"farshore/tests/lab/armsim"
)

const labNetworks = "/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/dr/providers/Microsoft.Network/virtualNetworks/"

// setPaths scripts the connections of the target's network, or of its hub.
func (c *azureLab) setPaths(paths []armsim.Path) {
	c.Helper()
	for _, p := range paths {
		if p.Network == "" {
			p.Network = labNetworks + "prod"
		}
		if err := c.server.SetPath(p); err != nil {
			c.Fatal(err)
		}
	}
}

func TestAWayHomeIsAConnectionThatIsUpAndCoversTheAddress(t *testing.T) {
	home := []string{"192.168.0.0/16"}
	up := armsim.Path{Name: "hq", Status: "Connected", Prefixes: home}
	rows := []struct {
		name  string
		paths []armsim.Path
		code  string // "" means that there is a way
		kind  fault.Kind
		says  string
	}{
		{"a VPN", []armsim.Path{up}, "", 0, "connection hq is connected and covers"},
		{"a VPN that learns by BGP", []armsim.Path{{Name: "hq", Status: "Connected", Learned: home}}, "", 0, "hq"},
		{"an ExpressRoute", []armsim.Path{{Name: "er", Express: true, Status: "Connected", Learned: home, Peering: "Enabled"}}, "", 0, "er"},
		{"one of two", []armsim.Path{{Name: "old", Status: "NotConnected", Prefixes: home}, up}, "", 0, "hq"},
		{"nothing", nil, "FS-5204", fault.Operator, "network prod has no VPN"},
		{"coming up", []armsim.Path{{Name: "hq", Status: "Connecting", Prefixes: home}}, "FS-5205", fault.Transient, "hq is connecting"},
		{"down", []armsim.Path{{Name: "hq", Status: "NotConnected", Prefixes: home}}, "FS-5206", fault.Operator, "hq is not connected"},
		{"told as unknown", []armsim.Path{{Name: "hq", Status: "Unknown", Prefixes: home}}, "FS-5207", fault.Operator, "does not tell"},
		{"told as null", []armsim.Path{{Name: "hq", Prefixes: home}}, "FS-5207", fault.Operator, "does not tell"},
		{"a circuit without private peering", []armsim.Path{{Name: "er", Express: true, Status: "Connected", Learned: home}}, "FS-5208", fault.Operator, "circuit er"},
		{"a private peering that is off", []armsim.Path{{Name: "er", Express: true, Status: "Connected", Learned: home, Peering: "Disabled"}}, "FS-5208", fault.Operator, "circuit er"},
		{"no route", []armsim.Path{{Name: "hq", Status: "Connected", Prefixes: []string{"192.168.1.0/24"}}}, "FS-5209", fault.Operator, "routes: 192.168.1.0/24"},
		{
			"several at once",
			[]armsim.Path{{Name: "a", Status: "NotConnected"}, {Name: "b", Status: "Connected", Prefixes: []string{"172.16.0.0/12"}}},
			"FS-5209", fault.Operator, "FS-5206: connection a is not connected",
		},
	}
	c := newCloud(t, activities.ReprotectRun)
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			c := newCloud(t, activities.ReprotectRun)
			c.setPaths(r.paths)
			out, err := run(c, activities.CheckPath, activities.PathIn{Place: c.place, Address: "192.168.7.20:9443"})
			if r.code == "" {
				if err != nil || len(out.Checks) != 1 || !strings.Contains(out.Checks[0], r.says) {
					t.Errorf("got %v, %v; want one that says %q", out.Checks, err, r.says)
				}
				return
			}
			f, ok := fault.As(err)
			if !ok || f.Code != r.code || f.Kind != r.kind || f.Remedy == "" || !strings.Contains(f.What, r.says) {
				t.Errorf("got %v, want %s saying %q", err, r.code, r.says)
			}
		})
	}
	_, err := run(c, activities.CheckPath, activities.PathIn{Place: c.place, Address: "no port"})
	if f, ok := fault.As(err); !ok || f.Code != "FS-5212" {
		t.Errorf("an address without a port: got %v", err)
	}
}

func TestTheWayHomeMayLeadThroughAHub(t *testing.T) {
	c := newCloud(t, activities.ReprotectRun)
	c.putNetwork("hub", nil)
	c.putNetwork("prod", []*armnetwork.VirtualNetworkPeering{{Name: to.Ptr("to-hub"), Properties: &armnetwork.VirtualNetworkPeeringPropertiesFormat{
		UseRemoteGateways: to.Ptr(true), RemoteVirtualNetwork: &armnetwork.SubResource{ID: to.Ptr(labNetworks + "hub")},
	}}})
	c.setPaths([]armsim.Path{{Network: labNetworks + "hub", Name: "hq", Status: "Connected", Prefixes: []string{"192.168.0.0/16"}}})
	out := must(c, activities.CheckPath, activities.PathIn{Place: c.place, Address: "192.168.7.20:9443"})
	if len(out.Checks) != 1 {
		t.Errorf("got %v", out.Checks)
	}
}
