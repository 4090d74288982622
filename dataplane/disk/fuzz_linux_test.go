package disk

import "testing"

// FuzzMounts: whatever a mountinfo holds, it is read without harm.
func FuzzMounts(f *testing.F) {
	f.Add("36 35 98:0 /mnt1 /mnt\\0402 rw,noatime master:1 - ext3 /dev/root rw,errors=continue\n")
	f.Fuzz(func(t *testing.T, body string) {
		for _, m := range parseMounts(body) {
			if m.Type == "" {
				t.Fatalf("a file system of no type: %+v", m)
			}
		}
	})
}
