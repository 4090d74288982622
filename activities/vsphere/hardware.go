package vsphere

import (
	"cmp"
	"slices"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/types"

	"farshore"
)

const (
	diskUnit = 1 << 20 // sizes of VMDKs are whole MiB
	// memoryUnitMB is what vSphere counts memory in.
	memoryUnitMB    = 4
	defaultMemoryMB = 2048
)

func roundUp(n, unit uint64) uint64 { return (n + unit - 1) / unit * unit }

func memoryMB(bytes uint64) int64 {
	if bytes == 0 {
		return defaultMemoryMB
	}
	return int64(roundUp(roundUp(bytes, 1<<20)>>20, memoryUnitMB))
}

// guestID is the kind of guest in vSphere's words. It chooses defaults only: what is made is said in full.
func guestID(m farshore.MachineSpec) string {
	if m.OS == "windows" {
		return string(types.VirtualMachineGuestOsIdentifierWindows9Server64Guest)
	}
	return string(types.VirtualMachineGuestOsIdentifierOtherLinux64Guest)
}

// controller makes a SCSI controller. Windows brings a driver for LSI Logic SAS along, Linux for the paravirtual one.
func controller(m farshore.MachineSpec, bus int, key int32) types.BaseVirtualDevice {
	scsi := types.VirtualSCSIController{
		VirtualController: types.VirtualController{VirtualDevice: types.VirtualDevice{Key: key}, BusNumber: int32(bus)},
		SharedBus:         types.VirtualSCSISharingNoSharing,
	}
	if m.OS == "windows" {
		return &types.VirtualLsiLogicSASController{VirtualSCSIController: scsi}
	}
	return &types.ParaVirtualSCSIController{VirtualSCSIController: scsi}
}

// keys gives out the temporary keys of new devices.
type keys int32

func (k *keys) next() int32 {
	*k--
	return int32(*k)
}

// seats gives a key of a controller for each bus: of the one that is there, or of a new one that is added to the spec.
type seats struct {
	spec       *types.VirtualMachineConfigSpec
	keys       keys
	byBus      map[int]int32
	controller func(bus int, key int32) types.BaseVirtualDevice
}

func newSeats(m *vm, spec *types.VirtualMachineConfigSpec, controller func(bus int, key int32) types.BaseVirtualDevice) *seats {
	s := &seats{spec: spec, keys: -100, byBus: map[int]int32{}, controller: controller}
	for _, c := range m.controllers() {
		s.byBus[int(c.BusNumber)] = c.Key
	}
	return s
}

// add adds a disk at a slot, and the controller if need be.
func (s *seats) add(disk *types.VirtualDisk, at slot, operation types.VirtualDeviceConfigSpecFileOperation) {
	key, ok := s.byBus[at.bus]
	if !ok {
		key = s.keys.next()
		s.byBus[at.bus] = key
		s.spec.DeviceChange = append(s.spec.DeviceChange, added(s.controller(at.bus, key), ""))
	}
	disk.Key, disk.ControllerKey, disk.UnitNumber = s.keys.next(), key, types.NewInt32(int32(at.unit))
	s.spec.DeviceChange = append(s.spec.DeviceChange, added(disk, operation))
}

func added(device types.BaseVirtualDevice, file types.VirtualDeviceConfigSpecFileOperation) types.BaseVirtualDeviceConfigSpec {
	return &types.VirtualDeviceConfigSpec{Operation: types.VirtualDeviceConfigSpecOperationAdd, FileOperation: file, Device: device}
}

// changes says what a machine's VM needs to have its disks: new ones where there is none, larger ones where one is too
// small. The boot disk comes first, so that it gets the first place of a new VM.
func changes(m *vm, machine farshore.MachineSpec, store types.ManagedObjectReference, storeName string) (types.VirtualMachineConfigSpec, error) {
	var spec types.VirtualMachineConfigSpec
	have := map[farshore.DiskID]drive{}
	for _, d := range m.drives() {
		if id := m.diskAt(d.slot); d.onSCSI && id != "" {
			have[id] = d
		}
	}
	var lacking []farshore.DiskSpec
	for _, d := range machine.Disks {
		size := int64(roundUp(d.SizeBytes, diskUnit))
		old, ok := have[d.ID]
		if !ok {
			lacking = append(lacking, d)
		} else if old.device.CapacityInBytes < int64(d.SizeBytes) {
			larger := *old.device
			larger.CapacityInBytes, larger.CapacityInKB = size, size>>10
			spec.DeviceChange = append(spec.DeviceChange, &types.VirtualDeviceConfigSpec{Operation: types.VirtualDeviceConfigSpecOperationEdit, Device: &larger})
		}
	}
	slices.SortStableFunc(lacking, func(x, y farshore.DiskSpec) int { return cmp.Compare(btoi(y.Boot), btoi(x.Boot)) })
	places, err := allocate(m.places(), len(lacking))
	if err != nil {
		return spec, err
	}
	s := newSeats(m, &spec, func(bus int, key int32) types.BaseVirtualDevice { return controller(machine, bus, key) })
	for i, d := range lacking {
		size := int64(roundUp(d.SizeBytes, diskUnit))
		s.add(&types.VirtualDisk{
			CapacityInBytes: size, CapacityInKB: size >> 10,
			VirtualDevice: types.VirtualDevice{Backing: &types.VirtualDiskFlatVer2BackingInfo{
				DiskMode: string(types.VirtualDiskModePersistent), ThinProvisioned: types.NewBool(true),
				VirtualDeviceFileBackingInfo: types.VirtualDeviceFileBackingInfo{
					FileName: (&object.DatastorePath{Datastore: storeName}).String(), Datastore: &store,
				},
			}},
		}, places[i], types.VirtualDeviceConfigSpecFileOperationCreate)
		spec.ExtraConfig = append(spec.ExtraConfig, option(markDisk+places[i].String(), string(d.ID)))
	}
	return spec, nil
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// cards makes a network card for each of the machine's, or one.
func cards(machine farshore.MachineSpec, plug types.BaseVirtualDeviceBackingInfo, keepMAC bool) []types.BaseVirtualDeviceConfigSpec {
	nics := machine.NICs
	if len(nics) == 0 {
		nics = []farshore.NICSpec{{}}
	}
	var all []types.BaseVirtualDeviceConfigSpec
	for i, n := range nics {
		card := types.VirtualEthernetCard{
			VirtualDevice: types.VirtualDevice{
				Key: int32(-1 - i), Backing: plug, Connectable: &types.VirtualDeviceConnectInfo{StartConnected: true, AllowGuestControl: true},
			},
			AddressType: string(types.VirtualEthernetCardMacTypeGenerated),
		}
		if keepMAC && n.MAC != "" {
			card.AddressType, card.MacAddress = string(types.VirtualEthernetCardMacTypeManual), n.MAC
		}
		var device types.BaseVirtualDevice = &types.VirtualVmxnet3{VirtualVmxnet: types.VirtualVmxnet{VirtualEthernetCard: card}}
		if machine.OS == "windows" {
			device = &types.VirtualE1000e{VirtualEthernetCard: card}
		}
		all = append(all, added(device, ""))
	}
	return all
}
