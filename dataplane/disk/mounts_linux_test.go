package disk

import (
	"slices"
	"testing"
)

func TestDeepestFileSystemsComeFirst(t *testing.T) {
	all := parseMounts(`21 1 8:1 / / rw,relatime shared:1 - ext4 /none/root rw
22 21 0:5 / /dev rw shared:2 - devtmpfs udev rw
30 21 8:2 / /var rw shared:9 - xfs /none/var rw
31 30 8:3 / /var/lib/my\040db rw - xfs /none/db rw
32 21 8:1 /srv /srv rw - ext4 /none/root rw
33 21 9:1 / /other rw - ext4 /none/other rw
`)
	var got []string
	for _, m := range ordered(all, map[string]bool{"8:1": true, "8:2": true, "8:3": true}) {
		got = append(got, m.MountPoint)
	}
	want := []string{"/var/lib/my db", "/var", "/"}
	if !slices.Equal(got, want) {
		t.Errorf("order %q, want %q: deepest first, a bind mount once, other disks never", got, want)
	}
}
