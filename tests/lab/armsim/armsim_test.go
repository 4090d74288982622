package armsim

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/network/armnetwork/v9"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armresources/v3"
)

const subscription = "00000000-0000-0000-0000-000000000001"

type token struct{}

func (token) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: "lab", ExpiresOn: time.Now().Add(time.Hour)}, nil
}

// world is a server with real SDK clients in front of it.
type world struct {
	*testing.T
	server    *Server
	running   *Switchboard
	dir       string
	groups    *armresources.ResourceGroupsClient
	resources *armresources.Client
	network   *armnetwork.ClientFactory
	compute   *armcompute.ClientFactory
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{T: t, running: &Switchboard{}, dir: t.TempDir()}
	blobs := MemoryBlobs{"http://blobs/good.vhd": MemoryVHD("disk!", 2), "http://blobs/bare.vhd": make([]byte, 2<<20)}
	w.server = New(t.Context(), Options{Blobs: blobs, Hypervisor: w.running, DiskDir: w.dir})
	front := httptest.NewServer(w.server)
	t.Cleanup(func() {
		front.Close()
		if err := w.server.Close(); err != nil {
			t.Error(err)
		}
	})
	options := &arm.ClientOptions{DisableRPRegistration: true, ClientOptions: policy.ClientOptions{
		InsecureAllowCredentialWithHTTP: true, Retry: policy.RetryOptions{MaxRetries: -1},
		Cloud: cloud.Configuration{ActiveDirectoryAuthorityHost: "https://localhost/", Services: map[cloud.ServiceName]cloud.ServiceConfiguration{
			cloud.ResourceManager: {Audience: "https://management.azure.com", Endpoint: front.URL},
		}},
	}}
	var err error
	if w.groups, err = armresources.NewResourceGroupsClient(subscription, token{}, options); err == nil {
		w.resources, err = armresources.NewClient(subscription, token{}, options)
	}
	if err == nil {
		w.network, err = armnetwork.NewClientFactory(subscription, token{}, options)
	}
	if err == nil {
		w.compute, err = armcompute.NewClientFactory(subscription, token{}, options)
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.groups.CreateOrUpdate(t.Context(), "dr", armresources.ResourceGroup{Location: to.Ptr("lab")}, nil); err != nil {
		t.Fatal(err)
	}
	return w
}

// finish polls an operation to its end.
func finish[T any](w *world, p *runtime.Poller[T], err error) (T, error) {
	var zero T
	if err != nil {
		return zero, err
	}
	for !p.Done() {
		if _, err := p.Poll(w.Context()); err != nil {
			return zero, err
		}
	}
	return p.Result(w.Context())
}

func (w *world) importDisk(name, url string) (armcompute.DisksClientCreateOrUpdateResponse, error) {
	p, err := w.compute.NewDisksClient().BeginCreateOrUpdate(w.Context(), "dr", name, armcompute.Disk{
		Location: to.Ptr("lab"), Tags: map[string]*string{"farshore-run": to.Ptr("r1")},
		Properties: &armcompute.DiskProperties{CreationData: &armcompute.CreationData{
			CreateOption: to.Ptr(armcompute.DiskCreateOptionImport), SourceURI: &url, StorageAccountID: to.Ptr("/account"),
		}},
	}, nil)
	return finish(w, p, err)
}

func (w *world) makeNIC(name, address string) (armnetwork.InterfacesClientCreateOrUpdateResponse, error) {
	subnet := "/subscriptions/" + subscription + "/resourceGroups/dr/providers/Microsoft.Network/virtualNetworks/net/subnets/a"
	ip := &armnetwork.InterfaceIPConfigurationPropertiesFormat{Subnet: &armnetwork.Subnet{ID: &subnet}}
	if address != "" {
		ip.PrivateIPAddress, ip.PrivateIPAllocationMethod = &address, to.Ptr(armnetwork.IPAllocationMethodStatic)
	}
	p, err := w.network.NewInterfacesClient().BeginCreateOrUpdate(w.Context(), "dr", name, armnetwork.Interface{
		Location: to.Ptr("lab"), Properties: &armnetwork.InterfacePropertiesFormat{
			IPConfigurations: []*armnetwork.InterfaceIPConfiguration{{Name: to.Ptr("ip"), Properties: ip}},
		},
	}, nil)
	return finish(w, p, err)
}

func (w *world) makeNetwork() {
	w.Helper()
	p, err := w.network.NewVirtualNetworksClient().BeginCreateOrUpdate(w.Context(), "dr", "net", armnetwork.VirtualNetwork{
		Location: to.Ptr("lab"), Properties: &armnetwork.VirtualNetworkPropertiesFormat{
			AddressSpace: &armnetwork.AddressSpace{AddressPrefixes: []*string{to.Ptr("10.9.0.0/16")}},
			Subnets:      []*armnetwork.Subnet{{Name: to.Ptr("a"), Properties: &armnetwork.SubnetPropertiesFormat{AddressPrefix: to.Ptr("10.9.1.0/24")}}},
		},
	}, nil)
	if _, err := finish(w, p, err); err != nil {
		w.Fatal(err)
	}
}

func (w *world) makeVM(name, disk, nic string) error {
	base := "/subscriptions/" + subscription + "/resourceGroups/dr/providers/"
	p, err := w.compute.NewVirtualMachinesClient().BeginCreateOrUpdate(w.Context(), "dr", name, armcompute.VirtualMachine{
		Location: to.Ptr("lab"), Properties: &armcompute.VirtualMachineProperties{
			NetworkProfile: &armcompute.NetworkProfile{NetworkInterfaces: []*armcompute.NetworkInterfaceReference{{ID: to.Ptr(base + "Microsoft.Network/networkInterfaces/" + nic)}}},
			StorageProfile: &armcompute.StorageProfile{OSDisk: &armcompute.OSDisk{
				CreateOption: to.Ptr(armcompute.DiskCreateOptionTypesAttach),
				ManagedDisk:  &armcompute.ManagedDiskParameters{ID: to.Ptr(base + "Microsoft.Compute/disks/" + disk)},
			}},
		},
	}, nil)
	_, err = finish(w, p, err)
	return err
}

// want fails unless err is a refusal with this code.
func (w *world) want(what string, err error, code string) {
	w.Helper()
	var refused *azcore.ResponseError
	if !errors.As(err, &refused) || refused.ErrorCode != code {
		w.Errorf("%s: got %v, want code %s", what, err, code)
	}
}

func TestAFailoverIsMadeAndRemovedThroughTheRealClients(t *testing.T) {
	w := newWorld(t)
	w.makeNetwork()
	disk, err := w.importDisk("os", "http://blobs/good.vhd")
	if err != nil || *disk.Properties.ProvisioningState != "Succeeded" {
		t.Fatalf("import: %v", err)
	}
	nic, err := w.makeNIC("nic1", "")
	if err != nil || *nic.Properties.IPConfigurations[0].Properties.PrivateIPAddress != "10.9.1.4" {
		t.Fatalf("interface: %v", err)
	}
	if err := w.makeVM("vm1", "os", "nic1"); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(w.running.On()["vm1"].Disks[0])
	if err != nil || len(raw) != 2<<20 || string(raw[:5]) != "disk!" {
		t.Errorf("the machine's disk is not the imported blob: %d bytes, %v", len(raw), err)
	}
	serial, err := w.compute.NewVirtualMachinesClient().RetrieveBootDiagnosticsData(t.Context(), "dr", "vm1", nil)
	if err != nil || !strings.HasSuffix(*serial.SerialConsoleLogBlobURI, "/serial/vm1") {
		t.Errorf("boot diagnostics: %v", err)
	}
	p, err := w.network.NewInterfacesClient().BeginDelete(t.Context(), "dr", "nic1", nil)
	_, err = finish(w, p, err)
	w.want("delete an interface in use", err, "ResourceInUse")

	v, err := w.compute.NewVirtualMachinesClient().BeginDelete(t.Context(), "dr", "vm1", nil)
	if err != nil {
		t.Fatal(err)
	}
	resume, err := v.ResumeToken()
	if err != nil {
		t.Fatal(err)
	}
	v, err = w.compute.NewVirtualMachinesClient().BeginDelete(t.Context(), "dr", "vm1", &armcompute.VirtualMachinesClientBeginDeleteOptions{ResumeToken: resume})
	if _, err := finish(w, v, err); err != nil {
		t.Errorf("resume a delete: %v", err)
	}
	g, err := w.groups.BeginDelete(t.Context(), "dr", nil)
	if _, err := finish(w, g, err); err != nil {
		t.Errorf("delete the group: %v", err)
	}
	left, err := filepath.Glob(filepath.Join(w.dir, "*"))
	if len(w.server.Resources())+len(w.running.On())+len(left) != 0 || err != nil {
		t.Errorf("left behind: %v, running %v, files %v", w.server.Resources(), w.running.On(), left)
	}
}

func TestWhatAzureRefusesIsRefused(t *testing.T) {
	w := newWorld(t)
	w.makeNetwork()
	_, err := w.importDisk("bare", "http://blobs/bare.vhd")
	w.want("import without a footer", err, "InvalidParameter")
	if _, err := w.makeNIC("nic1", "10.9.1.10"); err != nil {
		t.Fatal(err)
	}
	_, err = w.makeNIC("nic2", "10.9.1.10")
	w.want("the same address twice", err, "PrivateIPAddressInUse")
	_, err = w.makeNIC("nic3", "10.10.1.10")
	w.want("an address outside", err, "PrivateIPAddressNotInSubnet")
	w.want("a machine without a disk", w.makeVM("vm1", "none", "nic1"), "NotFound")
	if _, err := w.importDisk("os", "http://blobs/good.vhd"); err != nil {
		t.Fatal(err)
	}
	if err := w.makeVM("vm1", "os", "nic1"); err != nil {
		t.Fatal(err)
	}
	w.want("a disk attached twice", w.makeVM("vm2", "os", "nic1"), "OperationNotAllowed")
}

func TestScriptedFaultsReachTheClients(t *testing.T) {
	w := newWorld(t)
	w.server.Inject(Fault{Method: "PUT", Path: "/disks/", Status: 429, Code: "TooManyRequests"})
	_, err := w.importDisk("os", "http://blobs/good.vhd")
	w.want("throttled", err, "TooManyRequests")
	w.server.Inject(Fault{Method: "PUT", Path: "/disks/", LateCode: "AllocationFailed"})
	_, err = w.importDisk("os2", "http://blobs/good.vhd")
	w.want("failed late", err, "AllocationFailed")
	w.server.Inject(Fault{Method: "PUT", Path: "/disks/", Lost: true})
	_, err = w.importDisk("os3", "http://blobs/good.vhd")
	w.want("operation lost", err, "OperationNotFound")
	if _, err := w.importDisk("os3", "http://blobs/good.vhd"); err != nil {
		t.Errorf("asking again after the operation was lost: %v", err)
	}
}

func TestResourcesAreFoundByTag(t *testing.T) {
	w := newWorld(t)
	if _, err := w.importDisk("os", "http://blobs/good.vhd"); err != nil {
		t.Fatal(err)
	}
	for value, want := range map[string]int{"r1": 1, "r2": 0} {
		filter, found := fmt.Sprintf("tagName eq 'farshore-run' and tagValue eq '%s'", value), 0
		for pager := w.resources.NewListPager(&armresources.ClientListOptions{Filter: &filter}); pager.More(); {
			page, err := pager.NextPage(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			found += len(page.Value)
		}
		if found != want {
			t.Errorf("tag %s: found %d, want %d", value, found, want)
		}
	}
}
