package access

import "fmt"

// Entry is one entry of an access list, as far as it allows something on the file itself.
type Entry struct {
	SID  string
	Mask uint32
}

// trusted are those who may own a file and change it (well-known SIDs).
var trusted = map[string]bool{
	"S-1-5-18":     true, // SYSTEM
	"S-1-5-32-544": true, // Administrators
	"S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464": true, // TrustedInstaller
}

// changing are the rights with which a file can be made another: to write or append, to delete, to change its list or its
// owner, and the generic rights that contain them.
const changing = 0x2 | 0x4 | 0x10000 | 0x40000 | 0x80000 | 0x10000000 | 0x40000000

// Judge says who else can change a file of this owner and list, or "". A file without a list is everybody's.
func Judge(owner string, listed bool, list []Entry) string {
	if !trusted[owner] {
		return fmt.Sprintf("it belongs to %s, not to the system or the administrators", owner)
	}
	if !listed {
		return "it has no access list: everybody can change it"
	}
	for _, e := range list {
		if e.Mask&changing != 0 && !trusted[e.SID] {
			return fmt.Sprintf("%s can change it (rights 0x%x)", e.SID, e.Mask&changing)
		}
	}
	return ""
}
