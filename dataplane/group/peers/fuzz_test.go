package peers

import (
	"encoding/json"
	"testing"

	"farshore/dataplane/group"
)

// FuzzMessage: a line of another member is read as what it says or refused, whatever stands in it.
func FuzzMessage(f *testing.F) {
	for _, m := range []group.Message{
		{Kind: group.Call, Group: "shop", Round: 7}, {Kind: group.Sealed, Group: "shop", Round: 7, Part: []byte("{}")}, {Kind: group.Refuse, Group: "shop", Round: 7, Why: "no", Highest: 9},
	} {
		line, err := json.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		m, err := decode(line)
		if err != nil {
			return
		}
		if err := m.Check(); err != nil {
			t.Fatalf("%q was read: %v", line, err)
		}
		again, err := json.Marshal(m)
		if err != nil {
			t.Fatalf("a message that was read cannot be written: %v", err)
		}
		if _, err := decode(again); err != nil {
			t.Fatalf("%q was written, and is not read: %v", again, err)
		}
	})
}
