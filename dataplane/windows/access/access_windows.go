package access

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/windows"
)

const (
	allowed     = 0 // ACCESS_ALLOWED_ACE_TYPE
	inheritOnly = 8 // INHERIT_ONLY_ACE
)

// Examine says who else can change a file or folder, or "".
func Examine(path string) (what string, err error) {
	const wanted = windows.OWNER_SECURITY_INFORMATION | windows.DACL_SECURITY_INFORMATION
	descriptor, err := windows.GetNamedSecurityInfo(path, windows.SE_FILE_OBJECT, wanted)
	if err != nil {
		return "", fmt.Errorf("read the access list of %s: %w", path, err)
	}
	owner, _, err := descriptor.Owner()
	if err != nil {
		return "", fmt.Errorf("read the owner of %s: %w", path, err)
	}
	list, _, err := descriptor.DACL()
	if err != nil || list == nil {
		return Judge(owner.String(), false, nil), nil //nolint:nilerr // no list is what it says
	}
	var entries []Entry
	for i := range uint32(list.AceCount) {
		var ace *windows.ACCESS_ALLOWED_ACE
		if err := windows.GetAce(list, i, &ace); err != nil {
			return "", fmt.Errorf("read the access list of %s: %w", path, err)
		}
		if ace.Header.AceType != allowed || ace.Header.AceFlags&inheritOnly != 0 {
			continue
		}
		sid := (*windows.SID)(unsafe.Pointer(&ace.SidStart))
		entries = append(entries, Entry{SID: sid.String(), Mask: uint32(ace.Mask)})
	}
	return Judge(owner.String(), true, entries), nil
}
