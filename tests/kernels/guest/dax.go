package main

import (
	"os"
	"strings"
	"testing"

	"farshore/dataplane/disk"
	"farshore/fault"
)

// dax offers memory as a disk: what is mapped from a file on it is stored past the block layer, so it must be refused.
func dax(t *testing.T) {
	const node = "/dev/pmem0"
	if _, err := os.Stat(node); err != nil {
		t.Fatalf("the machine has no memory to offer: %v", err)
	}
	d, err := disk.Open(node)
	if err == nil {
		t.Fatalf("%s was opened, though it can be written past the block layer", d.Path())
	}
	f, ok := fault.As(err)
	if !ok || f.Code != "FS-1001" || !strings.Contains(f.What, "DAX") {
		t.Errorf("refused with %v; want FS-1001 and the reason", err)
	}
	found, err := disk.Find()
	if err != nil {
		t.Fatal(err)
	}
	for _, one := range found {
		if one.Path == node {
			t.Errorf("%s is offered for protection", node)
		}
	}
	report(t, "dax", map[string]any{"Refused": f.What})
}
