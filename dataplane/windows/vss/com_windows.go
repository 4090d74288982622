package vss

import (
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
)

var (
	vssapi         = windows.NewLazySystemDLL("vssapi.dll")
	create         = vssapi.NewProc("CreateVssBackupComponentsInternal")
	freeProperties = vssapi.NewProc("VssFreeSnapshotPropertiesInternal")

	ole32              = windows.NewLazySystemDLL("ole32.dll")
	incrementMTAUsage  = ole32.NewProc("CoIncrementMTAUsage")
	initializeSecurity = ole32.NewProc("CoInitializeSecurity")
	freeString         = windows.NewLazySystemDLL("oleaut32.dll").NewProc("SysFreeString")
)

// slot is the place of a method in an interface's table: the order in which vsbackup.h declares them.
type slot int

const (
	release slot = 2

	initializeForBackup   slot = 5
	setBackupState        slot = 6
	gatherWriterMetadata  slot = 9
	freeWriterMetadata    slot = 12
	prepareForBackup      slot = 14
	abortBackup           slot = 15
	gatherWriterStatus    slot = 16
	getWriterStatusCount  slot = 17
	freeWriterStatus      slot = 18
	getWriterStatus       slot = 19
	backupComplete        slot = 27
	setContext            slot = 35
	startSnapshotSet      slot = 36
	addToSnapshotSet      slot = 37
	doSnapshotSet         slot = 38
	deleteSnapshots       slot = 39
	getSnapshotProperties slot = 42
	isVolumeSupported     slot = 44

	asyncCancel slot = 3
	asyncWait   slot = 4
	asyncQuery  slot = 5
)

const (
	backupTypeCopy = 5 // VSS_BT_COPY
	objectSet      = 2 // VSS_OBJECT_SNAPSHOT_SET
	authnPrivacy   = 6 // RPC_C_AUTHN_LEVEL_PKT_PRIVACY
	impersonateID  = 2 // RPC_C_IMP_LEVEL_IDENTIFY
	tooLate        = HRESULT(0x80010119)
	maxWriters     = 1024
)

// object is a COM object: what it points to begins with its table of methods.
type object struct{ table *[64]uintptr }

// call calls a method. An outcome that is no error is nil. The directive keeps what arguments point to where it is, and alive,
// for as long as the call lasts.
//
//go:uintptrescapes
func (o *object) call(at slot, arguments ...uintptr) error {
	r, _, _ := syscall.SyscallN(o.table[at], append([]uintptr{uintptr(unsafe.Pointer(o))}, arguments...)...)
	if h := HRESULT(r); h.failed() {
		return h
	}
	return nil
}

func (o *object) free() { o.call(release) } //nolint:errcheck // it answers a count

// apartment makes this process one in which every thread may call COM objects, once. Writers call back into it, so it says
// whom it trusts: callers are identified, what goes over the wire is encrypted.
var apartment = sync.OnceValue(func() error {
	var cookie uintptr
	if r, _, _ := incrementMTAUsage.Call(uintptr(unsafe.Pointer(&cookie))); HRESULT(r).failed() {
		return fmt.Errorf("enter COM: %w", HRESULT(r))
	}
	const anyService = ^uintptr(0)
	r, _, _ := initializeSecurity.Call(0, anyService, 0, 0, authnPrivacy, impersonateID, 0, 0, 0)
	if h := HRESULT(r); h.failed() && h != tooLate {
		return fmt.Errorf("set the security of COM: %w", h)
	}
	return nil
})

// New makes an object of the Volume Shadow Copy Service.
func New() (API, error) {
	if err := create.Find(); err != nil {
		return nil, err
	}
	if err := apartment(); err != nil {
		return nil, err
	}
	var o *object
	if r, _, _ := create.Call(uintptr(unsafe.Pointer(&o))); HRESULT(r).failed() || o == nil {
		return nil, fmt.Errorf("make a requester: %w", HRESULT(r))
	}
	return components{o}, nil
}

// components is an IVssBackupComponents.
type components struct{ *object }

func (c components) begin(at slot) (Operation, error) {
	var o *object
	if err := c.call(at, uintptr(unsafe.Pointer(&o))); err != nil {
		return nil, err
	}
	if o == nil {
		return nil, errors.New("the service gave nothing to wait for")
	}
	return operation{o}, nil
}

func (c components) InitializeForBackup() error               { return c.call(initializeForBackup, 0) }
func (c components) SetContext(x Context) error               { return c.call(setContext, uintptr(uint32(x))) }
func (c components) FreeWriterMetadata() error                { return c.call(freeWriterMetadata) }
func (c components) FreeWriterStatus() error                  { return c.call(freeWriterStatus) }
func (c components) AbortBackup() error                       { return c.call(abortBackup) }
func (c components) Release()                                 { c.free() }
func (c components) PrepareForBackup() (Operation, error)     { return c.begin(prepareForBackup) }
func (c components) DoSnapshotSet() (Operation, error)        { return c.begin(doSnapshotSet) }
func (c components) BackupComplete() (Operation, error)       { return c.begin(backupComplete) }
func (c components) GatherWriterStatus() (Operation, error)   { return c.begin(gatherWriterStatus) }
func (c components) GatherWriterMetadata() (Operation, error) { return c.begin(gatherWriterMetadata) }

func (c components) SetBackupState(bootable bool) error {
	var start uintptr
	if bootable {
		start = 1
	}
	return c.call(setBackupState, 0, start, backupTypeCopy, 0)
}

func (c components) IsVolumeSupported(volume string) (bool, error) {
	name, err := windows.UTF16PtrFromString(volume)
	if err != nil {
		return false, err
	}
	var provider GUID // none: whichever is best. A structure of 16 bytes is passed by its address
	var able int32
	err = c.call(isVolumeSupported, uintptr(unsafe.Pointer(&provider)), uintptr(unsafe.Pointer(name)), uintptr(unsafe.Pointer(&able)))
	return able != 0, err
}

func (c components) StartSnapshotSet() (set GUID, err error) {
	err = c.call(startSnapshotSet, uintptr(unsafe.Pointer(&set)))
	return set, err
}

func (c components) AddToSnapshotSet(volume string) (snapshot GUID, err error) {
	name, err := windows.UTF16PtrFromString(volume)
	if err != nil {
		return snapshot, err
	}
	var provider GUID
	err = c.call(addToSnapshotSet, uintptr(unsafe.Pointer(name)), uintptr(unsafe.Pointer(&provider)), uintptr(unsafe.Pointer(&snapshot)))
	return snapshot, err
}

func (c components) DeleteSnapshots(set GUID) error {
	var deleted int32
	var left GUID
	return c.call(deleteSnapshots, uintptr(unsafe.Pointer(&set)), objectSet, 1, uintptr(unsafe.Pointer(&deleted)), uintptr(unsafe.Pointer(&left)))
}

// properties is a VSS_SNAPSHOT_PROP.
type properties struct {
	snapshot, set                                              GUID
	count                                                      int32
	device, volume, origin, server, exposedName, exposedFolder *uint16
	provider                                                   GUID
	attributes                                                 int32
	created                                                    int64
	state                                                      int32
}

func (c components) GetSnapshotProperties(snapshot GUID) (device string, err error) {
	var p properties
	if err := c.call(getSnapshotProperties, uintptr(unsafe.Pointer(&snapshot)), uintptr(unsafe.Pointer(&p))); err != nil {
		return "", err
	}
	device = windows.UTF16PtrToString(p.device)
	freeProperties.Call(uintptr(unsafe.Pointer(&p))) //nolint:errcheck // it answers nothing
	if device == "" {
		return "", errors.New("the shadow copy has no device")
	}
	return device, nil
}

func (c components) WriterStatuses() ([]Writer, error) {
	var count uint32
	if err := c.call(getWriterStatusCount, uintptr(unsafe.Pointer(&count))); err != nil {
		return nil, err
	}
	if count > maxWriters {
		return nil, fmt.Errorf("there are %d writers, at most %d are looked at", count, maxWriters)
	}
	writers := make([]Writer, count)
	for i := range writers {
		var instance, class GUID
		var name *uint16 // a BSTR
		var result uint32
		w := &writers[i]
		err := c.call(getWriterStatus, uintptr(i), uintptr(unsafe.Pointer(&instance)), uintptr(unsafe.Pointer(&class)),
			uintptr(unsafe.Pointer(&name)), uintptr(unsafe.Pointer(&w.State)), uintptr(unsafe.Pointer(&result)))
		if err != nil {
			return nil, err
		}
		w.Name, w.Result = windows.UTF16PtrToString(name), HRESULT(result)
		freeString.Call(uintptr(unsafe.Pointer(name))) //nolint:errcheck // it answers nothing
	}
	return writers, nil
}

// operation is an IVssAsync.
type operation struct{ *object }

func (o operation) Cancel() error { return o.call(asyncCancel) }
func (o operation) Release()      { o.free() }

func (o operation) Wait(d time.Duration) error {
	return o.call(asyncWait, uintptr(uint32(d.Milliseconds())))
}

func (o operation) QueryStatus() (HRESULT, error) {
	var status uint32
	err := o.call(asyncQuery, uintptr(unsafe.Pointer(&status)), 0)
	return HRESULT(status), err
}
