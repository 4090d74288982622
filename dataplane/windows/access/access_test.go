package access

import (
	"strings"
	"testing"
)

const (
	systemID, admins, everyone, users = "S-1-5-18", "S-1-5-32-544", "S-1-1-0", "S-1-5-32-545"
	full, read                        = 0x1f01ff, 0x1200a9
)

func TestAFileIsTrustedWhenOnlyTheSystemAndAdministratorsCanChangeIt(t *testing.T) {
	for name, c := range map[string]struct {
		owner  string
		listed bool
		list   []Entry
		say    string
	}{
		"as installed":        {admins, true, []Entry{{systemID, full}, {admins, full}, {users, read}}, ""},
		"nobody at all":       {systemID, true, nil, ""},
		"no list":             {systemID, false, nil, "no access list"},
		"a user's file":       {"S-1-5-21-1-2-3-1001", true, []Entry{{systemID, full}}, "belongs to S-1-5-21"},
		"everybody may write": {admins, true, []Entry{{everyone, read | 0x2}}, "S-1-1-0 can change it"},
		"users may append":    {admins, true, []Entry{{users, 0x4}}, "can change it"},
		"users may delete":    {admins, true, []Entry{{users, 0x10000}}, "can change it"},
		"a user may take it":  {admins, true, []Entry{{users, 0x80000}}, "can change it"},
		"a user may open it":  {admins, true, []Entry{{users, 0x40000}}, "can change it"},
		"generic rights":      {admins, true, []Entry{{users, 0x10000000}}, "can change it"},
	} {
		got := Judge(c.owner, c.listed, c.list)
		if (got == "") != (c.say == "") || !strings.Contains(got, c.say) {
			t.Errorf("%s: %q, want %q", name, got, c.say)
		}
	}
}
