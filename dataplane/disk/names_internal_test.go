package disk

import (
	"testing"

	"farshore"
)

// Each row is a machine whose disks were called a and b, and what is found of it later.
func TestDisksKeepTheirNamesInAnotherBody(t *testing.T) {
	was := []Name{
		{ID: "a", Hardware: "serial-1", Content: "gpt-1", Sectors: 1_000_001},
		{ID: "b", Hardware: "serial-2", Content: "xfs-2", Sectors: 2_000_000},
	}
	for name, row := range map[string]struct {
		body  string
		known []Name
		found []Name
		want  [2]farshore.DiskID
	}{
		"the same body, other slots": {"metal", was, []Name{{Hardware: "serial-2"}, {Hardware: "serial-1"}}, [2]farshore.DiskID{"b", "a"}},
		"the same body, a new disk with the content of an old one": {
			"metal", was, []Name{{Hardware: "serial-1", Content: "gpt-1"}, {Hardware: "serial-3", Content: "xfs-2"}}, [2]farshore.DiskID{"a", ""},
		},
		"another body knows them by content": {
			"vm", was, []Name{{Hardware: "serial-9", Content: "xfs-2"}, {Hardware: "serial-8", Content: "gpt-1"}}, [2]farshore.DiskID{"b", "a"},
		},
		"hardware of another body says nothing": {
			"vm", was, []Name{{Hardware: "serial-2", Content: "gpt-1"}, {Hardware: "serial-1", Content: "xfs-2"}}, [2]farshore.DiskID{"a", "b"},
		},
		"what is left is known by its size, grown to whole MiB": {
			"vm", was, []Name{{Content: "gpt-1", Sectors: 1_001_472}, {Content: "ext4-new", Sectors: 2_001_024}}, [2]farshore.DiskID{"a", "b"},
		},
		"a disk that is larger by more than that is another one": {
			"vm", was, []Name{{Content: "gpt-1"}, {Sectors: 2_002_048}}, [2]farshore.DiskID{"a", ""},
		},
		"two of the same content are nobody, two of the same size neither": {
			"vm",
			[]Name{{ID: "a", Content: "gpt-1", Sectors: 4096}, {ID: "b", Content: "gpt-1", Sectors: 4096}},
			[]Name{{Content: "gpt-1", Sectors: 4096}, {Content: "gpt-1", Sectors: 4096}},
			[2]farshore.DiskID{"", ""},
		},
		"one that both could be is neither, but size may still tell": {
			"vm", was, []Name{{Content: "gpt-1", Sectors: 1_000_001}, {Content: "gpt-1", Sectors: 2_000_000}}, [2]farshore.DiskID{"a", "b"},
		},
		"image files have no hardware and are known by content": {
			"metal",
			[]Name{{ID: "a", Hardware: "name-1", Content: "gpt-1"}, {ID: "b", Hardware: "name-2", Content: "xfs-2"}},
			[]Name{{Hardware: "name-1", Content: "xfs-2"}, {Hardware: "name-2", Content: "gpt-1"}},
			[2]farshore.DiskID{"b", "a"},
		},
		"with nothing on them, by their nodes": {
			"metal", []Name{{ID: "a", Hardware: "name-1"}, {ID: "b", Hardware: "name-2"}}, []Name{{Hardware: "name-2"}, {Hardware: "name-1", Content: "xfs-new"}}, [2]farshore.DiskID{"b", "a"},
		},
		"a node with other content is another disk": {
			"metal", []Name{{ID: "a", Hardware: "name-1", Content: "gpt-1"}}, []Name{{Hardware: "name-1", Content: "gpt-9"}, {Hardware: "name-2"}}, [2]farshore.DiskID{"", ""},
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := Names{Body: "metal", Disks: row.known}
			left := n.recognise(row.body, row.found)
			if got := [2]farshore.DiskID{row.found[0].ID, row.found[1].ID}; got != row.want {
				t.Errorf("they are called %q, want %q", got, row.want)
			}
			for _, k := range left {
				if k.ID == row.found[0].ID || k.ID == row.found[1].ID || row.body != "metal" && k.Hardware != "" {
					t.Errorf("%+v is left", k)
				}
			}
		})
	}
}
