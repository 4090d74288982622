package hashes

import (
	"fmt"
	"strconv"
	"strings"

	"farshore"
)

// Prefix begins the names of everything that was offered to the claim of an epoch.
func Prefix(m farshore.MachineID, g farshore.Generation, e farshore.Epoch) string {
	return fmt.Sprintf("%se%08x/", Root(m, g), uint32(e))
}

// Root begins the names of all offers of a generation.
func Root(m farshore.MachineID, g farshore.Generation) string {
	return fmt.Sprintf("replica/v1/hashes/%s/g%08x/", m, uint32(g))
}

// HeadName is the name of the head of the n-th offer to the claim of an epoch; n counts from 1.
func HeadName(m farshore.MachineID, g farshore.Generation, e farshore.Epoch, n uint32) string {
	return fmt.Sprintf("%soffer-%08x.json", Prefix(m, g, e), n)
}

// PartName is the name of a part. Whichever offer made it says the part itself: the first one counts.
func PartName(m farshore.MachineID, g farshore.Generation, e farshore.Epoch, d farshore.DiskID, part uint32) string {
	return fmt.Sprintf("%sd-%s/p%08x.fsh", Prefix(m, g, e), d, part)
}

// EpochOf reads the epoch out of the name of an object below [Root].
func EpochOf(m farshore.MachineID, g farshore.Generation, name string) (farshore.Epoch, bool) {
	rest, ok := strings.CutPrefix(name, Root(m, g))
	first, _, found := strings.Cut(rest, "/")
	n, err := strconv.ParseUint(strings.TrimPrefix(first, "e"), 16, 32)
	e := farshore.Epoch(n)
	return e, ok && found && err == nil && strings.HasPrefix(name, Prefix(m, g, e))
}
