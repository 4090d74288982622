package azure

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/network/armnetwork/v9"

	"farshore"
	"farshore/activities"
	"farshore/dataplane/vault"
	"farshore/fault"
)

// ProcessServerConfig says what temporary process servers are made of.
type ProcessServerConfig struct {
	Program  string       `yaml:"program"`            // URL of farshore-dataplane for Linux, as the VM reaches it
	SHA256   string       `yaml:"sha256"`             // of it, in hexadecimal
	Image    string       `yaml:"image"`              // publisher:offer:sku:version of a Linux with cloud-init and systemd, or the id of an image
	Size     string       `yaml:"size"`               // of the VM
	Control  string       `yaml:"control"`            // host:port of the configuration server, as the VM reaches it
	Identity string       `yaml:"identity,omitempty"` // resource id of the managed identity that enters the vault
	Vault    vault.Config `yaml:"vault"`              // the section of its configuration
}

// Nodes is the configuration server's authority over nodes, as temporary process servers need it.
type Nodes interface {
	// JoinToken makes the right to enrol once, also in the place of a node that has the name, and gives the pin of the CA.
	JoinToken(ctx context.Context, id farshore.Identity) (token, pin string, err error)
	// Heard gives the address at which a process server is dialled, as it last reported, and when.
	Heard(id farshore.Identity) (address string, at time.Time, ok bool)
	// Retire refuses a node from now on. It may be unknown.
	Retire(id farshore.Identity) error
}

// Enrols gives the adapter the authority over nodes. Without it there are no temporary process servers.
func (a *Adapter) Enrols(n Nodes) { a.nodes = n }

const (
	// reportWithin is how long a VM may take from its creation to the first report of its process server.
	reportWithin = 20 * time.Minute
	// heardLately is the age of a report that shows that its process server runs.
	heardLately = 90 * time.Second
)

// ensureProcessServer implements [activities.EnsureProcessServer].
func (a *Adapter) ensureProcessServer(ctx context.Context, in activities.ProcessServerIn) (activities.ProcessServerOut, error) {
	if a.config.ProcessServer == nil || a.nodes == nil {
		return activities.ProcessServerOut{}, &fault.Fault{
			Code: "FS-5213", Kind: fault.Operator, Subject: "configuration azure.processServer", What: "it does not say what temporary process servers are made of",
			Remedy: "fill it in (docs/operate/azure.md), or let the failback policy do without a temporary process server",
		}
	}
	id, err := a.findServer(ctx, in)
	if err == nil && id == "" {
		id, err = a.createServer(ctx, in)
	}
	if err != nil {
		return activities.ProcessServerOut{}, err
	}
	address, err := a.awaitServer(ctx, in)
	return activities.ProcessServerOut{Name: in.Name, Address: address, VMID: id}, err
}

func serverVM(in activities.Place) string { return in.Run.Resource("ps-vm") }

// findServer finds the VM that an earlier attempt made. It is not put again: its token may be used already, and neither
// custom data nor keys of a VM can be changed.
func (a *Adapter) findServer(ctx context.Context, in activities.ProcessServerIn) (id string, err error) {
	name := serverVM(in.Place)
	vm, err := a.compute.NewVirtualMachinesClient().Get(ctx, in.Target.ResourceGroup, name, nil)
	if notFound(err) {
		return "", nil
	}
	if err != nil {
		return "", explain(in.Place, "look for "+name, err)
	}
	if p := vm.Properties; p != nil && p.ProvisioningState != nil && *p.ProvisioningState == "Failed" {
		return "", serverSilent(in, "Azure could not make its VM", "see the VM "+name+" in the portal, cancel the operation, which removes it, and repeat it")
	}
	return *vm.ID, nil
}

// createServer makes the VM, with an interface that has no public address. The join token is made here and appears nowhere
// but in the VM. The interface bears the name of the node before that has a token, so that the removal of the run finds it
// also if the VM is never made.
func (a *Adapter) createServer(ctx context.Context, in activities.ProcessServerIn) (id string, err error) {
	subnet, err := a.findSubnet(ctx, in.Place, in.Target.Network, in.Target.Subnet)
	if err != nil {
		return "", err
	}
	nic, err := a.putInterface(ctx, in.Place, in.Run.Resource("ps-nic"), serverTags(in), &armnetwork.InterfaceIPConfigurationPropertiesFormat{
		Subnet: &armnetwork.Subnet{ID: &subnet}, PrivateIPAllocationMethod: to.Ptr(armnetwork.IPAllocationMethodDynamic),
	})
	if err != nil {
		return "", err
	}
	token, pin, err := a.nodes.JoinToken(ctx, server(in.Name))
	if err != nil {
		return "", err
	}
	data, err := a.config.ProcessServer.customData(serverStart{name: in.Name, address: nic.Address, token: token, pin: pin})
	if err != nil {
		return "", err
	}
	body, err := a.serverBody(in, nic.ID, data)
	if err != nil {
		return "", err
	}
	name := serverVM(in.Place)
	made, err := do(ctx, a, name, func(token string) (*runtime.Poller[armcompute.VirtualMachinesClientCreateOrUpdateResponse], error) {
		return a.compute.NewVirtualMachinesClient().BeginCreateOrUpdate(ctx, in.Target.ResourceGroup, name, body,
			&armcompute.VirtualMachinesClientBeginCreateOrUpdateOptions{ResumeToken: token})
	})
	if err != nil {
		return "", explain(in.Place, "make the temporary process server "+name, err)
	}
	return *made.ID, nil
}

func server(name string) farshore.Identity {
	return farshore.Identity{Role: farshore.RoleProcessServer, Name: name}
}

// serverTags are those of the run, and the name of the node.
func serverTags(in activities.ProcessServerIn) map[string]*string {
	tags := tagMap(in.Place)
	tags[activities.TagNode] = &in.Name
	return tags
}

func (a *Adapter) serverBody(in activities.ProcessServerIn, nic, customData string) (armcompute.VirtualMachine, error) {
	key, err := nobodysKey()
	if err != nil {
		return armcompute.VirtualMachine{}, err
	}
	c, name := a.config.ProcessServer, serverVM(in.Place)
	vm := armcompute.VirtualMachine{
		Location: &in.Target.Location, Tags: serverTags(in),
		Properties: &armcompute.VirtualMachineProperties{
			HardwareProfile: &armcompute.HardwareProfile{VMSize: to.Ptr(armcompute.VirtualMachineSizeTypes(c.Size))},
			StorageProfile: &armcompute.StorageProfile{
				ImageReference: c.image(),
				OSDisk: &armcompute.OSDisk{
					Name: to.Ptr(in.Run.Resource("ps-disk")), CreateOption: to.Ptr(armcompute.DiskCreateOptionTypesFromImage),
					DeleteOption: to.Ptr(armcompute.DiskDeleteOptionTypesDelete),
					ManagedDisk:  &armcompute.ManagedDiskParameters{StorageAccountType: to.Ptr(armcompute.StorageAccountTypesPremiumLRS)},
				},
			},
			OSProfile: &armcompute.OSProfile{
				ComputerName: &name, AdminUsername: to.Ptr("farshore"), CustomData: &customData,
				LinuxConfiguration: &armcompute.LinuxConfiguration{
					DisablePasswordAuthentication: to.Ptr(true),
					SSH: &armcompute.SSHConfiguration{PublicKeys: []*armcompute.SSHPublicKey{{
						Path: to.Ptr("/home/farshore/.ssh/authorized_keys"), KeyData: &key,
					}}},
				},
			},
			DiagnosticsProfile: &armcompute.DiagnosticsProfile{BootDiagnostics: &armcompute.BootDiagnostics{Enabled: to.Ptr(true)}},
			NetworkProfile: &armcompute.NetworkProfile{NetworkInterfaces: []*armcompute.NetworkInterfaceReference{{
				ID: &nic, Properties: &armcompute.NetworkInterfaceReferenceProperties{
					Primary: to.Ptr(true), DeleteOption: to.Ptr(armcompute.DeleteOptionsDelete),
				},
			}}},
		},
	}
	if c.Identity != "" {
		vm.Identity = &armcompute.VirtualMachineIdentity{
			Type:                   to.Ptr(armcompute.ResourceIdentityTypeUserAssigned),
			UserAssignedIdentities: map[string]*armcompute.UserAssignedIdentitiesValue{c.Identity: {}},
		}
	}
	return vm, nil
}

// image is what the VM's disk is made from.
func (c *ProcessServerConfig) image() *armcompute.ImageReference {
	parts := strings.Split(c.Image, ":")
	if len(parts) != 4 {
		return &armcompute.ImageReference{ID: &c.Image}
	}
	return &armcompute.ImageReference{Publisher: &parts[0], Offer: &parts[1], SKU: &parts[2], Version: &parts[3]}
}

// nobodysKey is a public SSH key whose private half is forgotten at once: Azure wants a way to log in, and there shall be none.
func nobodysKey() (string, error) {
	public, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return "", fmt.Errorf("make a key for nobody: %w", err)
	}
	const kind = "ssh-ed25519"
	var blob []byte // RFC 8709, section 4
	for _, field := range [][]byte{[]byte(kind), public} {
		blob = append(binary.BigEndian.AppendUint32(blob, uint32(len(field))), field...)
	}
	return kind + " " + base64.StdEncoding.EncodeToString(blob), nil
}

// awaitServer waits until the process server itself reports: a VM that was made has shown nothing yet.
func (a *Adapter) awaitServer(ctx context.Context, in activities.ProcessServerIn) (address string, err error) {
	deadline := time.Now().Add(reportWithin)
	look := func(ctx context.Context) (activities.Progress, bool, error) {
		heard, at, ok := a.nodes.Heard(server(in.Name))
		if ok && time.Since(at) < heardLately {
			address = heard
			return activities.Progress{}, true, nil
		}
		if time.Now().After(deadline) {
			console, err := a.serialConsole(ctx, in.Place, serverVM(in.Place))
			if err != nil {
				return activities.Progress{}, false, err
			}
			return activities.Progress{}, false, serverSilent(in,
				fmt.Sprintf("it has not reported %s after its VM was made; the console ends: %s", reportWithin, strings.Join(lastLines(console, evidenceLines), " | ")),
				"see that the VM reaches azure.processServer's program, the configuration server and the vault, then repeat the operation")
		}
		return activities.Progress{What: "waiting for the first report of " + in.Name}, false, nil
	}
	return address, activities.Supervise(ctx, a.config.PollEvery, look)
}

func serverSilent(in activities.ProcessServerIn, what, remedy string) error {
	return &fault.Fault{Code: "FS-5214", Kind: fault.Operator, Subject: "temporary process server " + in.Name, What: what, Remedy: remedy}
}
