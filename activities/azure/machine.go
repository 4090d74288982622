package azure

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8"

	"farshore"
	"farshore/activities"
	"farshore/fault"
)

type diskResponse = armcompute.DisksClientCreateOrUpdateResponse

// createDisks implements [activities.CreateDisks]: all imports are begun, then all are waited for.
func (a *Adapter) createDisks(ctx context.Context, in activities.CreateDisksIn) (activities.CreateDisksOut, error) {
	o := resume(ctx)
	pollers := make([]*runtime.Poller[diskResponse], len(in.Disks))
	for i, d := range in.Disks {
		name := in.Run.Resource(fmt.Sprintf("disk%d", i))
		poller, err := begin(ctx, o, name, func(token string) (*runtime.Poller[diskResponse], error) {
			return a.compute.NewDisksClient().BeginCreateOrUpdate(ctx, in.Target.ResourceGroup, name, a.diskBody(in, d),
				&armcompute.DisksClientBeginCreateOrUpdateOptions{ResumeToken: token})
		})
		if err != nil {
			return activities.CreateDisksOut{}, explain(in.Place, "import disk "+string(d.Disk), err)
		}
		pollers[i] = poller
	}
	var out activities.CreateDisksOut
	for i, d := range in.Disks {
		made, err := finish(ctx, a, o, in.Run.Resource(fmt.Sprintf("disk%d", i)), pollers[i])
		if err != nil {
			return activities.CreateDisksOut{}, explain(in.Place, "import disk "+string(d.Disk), err)
		}
		out.Disks = append(out.Disks, activities.CloudDisk{Disk: d.Disk, ID: *made.ID, Boot: d.Boot})
	}
	return out, nil
}

func (a *Adapter) diskBody(in activities.CreateDisksIn, d activities.PreparedDisk) armcompute.Disk {
	disk := armcompute.Disk{
		Location: &in.Target.Location, Tags: tagMap(in.Place),
		SKU: &armcompute.DiskSKU{Name: to.Ptr(armcompute.DiskStorageAccountTypesPremiumLRS)},
		Properties: &armcompute.DiskProperties{CreationData: &armcompute.CreationData{
			CreateOption: to.Ptr(armcompute.DiskCreateOptionImport), SourceURI: &d.URL, StorageAccountID: &a.config.StorageAccountID,
		}},
	}
	if d.Boot {
		disk.Properties.OSType = osType(in.Machine)
		disk.Properties.HyperVGeneration = to.Ptr(armcompute.HyperVGenerationV1)
		if in.Machine.Firmware == farshore.UEFI {
			disk.Properties.HyperVGeneration = to.Ptr(armcompute.HyperVGenerationV2)
		}
	}
	return disk
}

func osType(m farshore.MachineSpec) *armcompute.OperatingSystemTypes {
	if m.OS == "windows" {
		return to.Ptr(armcompute.OperatingSystemTypesWindows)
	}
	return to.Ptr(armcompute.OperatingSystemTypesLinux)
}

// createVM implements [activities.CreateVM]. The disks are attached as they are: there is no provisioning, no password and
// no new host name.
func (a *Adapter) createVM(ctx context.Context, in activities.CreateVMIn) (activities.CreateVMOut, error) {
	storage := &armcompute.StorageProfile{}
	for _, d := range in.Disks {
		managed := &armcompute.ManagedDiskParameters{ID: &d.ID}
		if d.Boot {
			storage.OSDisk = &armcompute.OSDisk{
				CreateOption: to.Ptr(armcompute.DiskCreateOptionTypesAttach), OSType: osType(in.Machine), ManagedDisk: managed,
			}
			continue
		}
		storage.DataDisks = append(storage.DataDisks, &armcompute.DataDisk{
			Lun: to.Ptr(int32(len(storage.DataDisks))), CreateOption: to.Ptr(armcompute.DiskCreateOptionTypesAttach), ManagedDisk: managed,
		})
	}
	if storage.OSDisk == nil {
		return activities.CreateVMOut{}, missing(in.Place, "none of the prepared disks is a boot disk")
	}
	name := in.Run.Resource("vm")
	made, err := do(ctx, a, name, func(token string) (*runtime.Poller[armcompute.VirtualMachinesClientCreateOrUpdateResponse], error) {
		return a.compute.NewVirtualMachinesClient().BeginCreateOrUpdate(ctx, in.Target.ResourceGroup, name, armcompute.VirtualMachine{
			Location: &in.Target.Location, Tags: tagMap(in.Place),
			Properties: &armcompute.VirtualMachineProperties{
				HardwareProfile:    &armcompute.HardwareProfile{VMSize: to.Ptr(armcompute.VirtualMachineSizeTypes(in.Target.VMSize))},
				StorageProfile:     storage,
				DiagnosticsProfile: &armcompute.DiagnosticsProfile{BootDiagnostics: &armcompute.BootDiagnostics{Enabled: to.Ptr(true)}},
				NetworkProfile: &armcompute.NetworkProfile{NetworkInterfaces: []*armcompute.NetworkInterfaceReference{{
					ID: &in.NICID, Properties: &armcompute.NetworkInterfaceReferenceProperties{Primary: to.Ptr(true)},
				}}},
			},
		}, &armcompute.VirtualMachinesClientBeginCreateOrUpdateOptions{ResumeToken: token})
	})
	if err != nil {
		return activities.CreateVMOut{}, explain(in.Place, "start the virtual machine "+name, err)
	}
	return activities.CreateVMOut{ID: *made.ID}, nil
}

const (
	evidenceLines = 12
	// serialLimit bounds how much of a console is read: boot diagnostics keep about a megabyte.
	serialLimit = 4 << 20
)

// awaitBoot implements [activities.AwaitBoot].
func (a *Adapter) awaitBoot(ctx context.Context, in activities.AwaitBootIn) (activities.AwaitBootOut, error) {
	prompt, err := regexp.Compile(in.Prompt)
	if err != nil {
		return activities.AwaitBootOut{}, &fault.Fault{
			Code: "FS-5202", Kind: fault.Refused, Subject: "run " + string(in.Run.ID), What: fmt.Sprintf("the prompt %q is not a regular expression", in.Prompt),
			Remedy: "correct the prompt", Err: err,
		}
	}
	deadline := time.Now().Add(time.Duration(in.Seconds) * time.Second)
	var console string
	look := func(ctx context.Context) (activities.Progress, bool, error) {
		text, err := a.serialConsole(ctx, in.Place, in.Run.Resource("vm"))
		if err != nil {
			return activities.Progress{}, false, err
		}
		console = text
		if !in.Linux || prompt.MatchString(console) {
			return activities.Progress{}, true, nil
		}
		if time.Now().After(deadline) {
			return activities.Progress{}, false, notStarted(in, console)
		}
		return activities.Progress{What: "serial console: " + last(lastLines(console, 1))}, false, nil
	}
	if err := activities.Supervise(ctx, a.config.PollEvery, look); err != nil {
		return activities.AwaitBootOut{}, err
	}
	return activities.AwaitBootOut{Evidence: lastLines(console, evidenceLines)}, nil
}

func notStarted(in activities.AwaitBootIn, console string) error {
	return &fault.Fault{
		Code: "FS-5201", Kind: fault.Operator, Subject: "run " + string(in.Run.ID),
		What:   fmt.Sprintf("%s did not show its prompt within %d s; its console ends: %s", in.Run.Machine, in.Seconds, strings.Join(lastLines(console, evidenceLines), " | ")),
		Remedy: "read the serial console in the portal; if the machine did start, repeat with a longer limit, else choose an earlier point",
	}
}

// serialConsole fetches what a VM wrote to its serial port. A machine whose log does not exist yet has written nothing.
func (a *Adapter) serialConsole(ctx context.Context, in activities.Place, vm string) (string, error) {
	data, err := a.compute.NewVirtualMachinesClient().RetrieveBootDiagnosticsData(ctx, in.Target.ResourceGroup, vm, nil)
	if err != nil {
		return "", explain(in, "ask for the serial console", err)
	}
	if data.SerialConsoleLogBlobURI == nil {
		return "", nil
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, *data.SerialConsoleLogBlobURI, nil)
	if err != nil {
		return "", fmt.Errorf("ask for the serial console: %w", err)
	}
	response, err := a.http.Do(request)
	if err != nil {
		return "", explain(in, "read the serial console", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return "", nil
	}
	console, err := io.ReadAll(io.LimitReader(response.Body, serialLimit))
	if err != nil {
		return "", explain(in, "read the serial console", err)
	}
	return string(console), nil
}

// control are what a boot loader sends to a terminal besides text.
var control = regexp.MustCompile(`\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f]`)

// lastLines gives the last non-empty lines of a console, as plain text.
func lastLines(console string, n int) []string {
	var lines []string
	for line := range strings.Lines(console) {
		if line = strings.TrimSpace(control.ReplaceAllString(strings.ToValidUTF8(line, "?"), "")); line != "" {
			lines = append(lines, line)
		}
	}
	return lines[max(0, len(lines)-n):]
}

func last(lines []string) string {
	if len(lines) == 0 {
		return "nothing yet"
	}
	return lines[len(lines)-1]
}

func missing(in activities.Place, what string) error {
	return &fault.Fault{
		Code: "FS-5104", Kind: fault.Operator, Subject: "run " + string(in.Run.ID), What: what,
		Remedy: "correct the machine's target, then repeat the operation",
	}
}
