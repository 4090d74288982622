package chain

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"farshore"
)

// The first parts of the names of everything that belongs to machines. Numbers in names are zero-padded hexadecimal, so
// that listing order is stream order.
const (
	JournalRoot = "journal/v1/m/"
	PointsRoot  = "points/v1/m/"
)

// GroupsRoot begins the names of the points that groups of machines share.
const GroupsRoot = "points/v1/g/"

// GroupPrefix begins the names of a group's points.
func GroupPrefix(g farshore.GroupID) string { return GroupsRoot + string(g) + "/" }

// GroupPointName is the name of the point of a round of a group.
func GroupPointName(g farshore.GroupID, r farshore.Round) string {
	return GroupPrefix(g) + fmt.Sprintf("p%016x.json", uint64(r))
}

// ParseGroupPointName is the inverse of [GroupPointName].
func ParseGroupPointName(name string) (farshore.GroupID, farshore.Round, error) {
	group, last, _ := strings.Cut(strings.TrimPrefix(name, GroupsRoot), "/")
	g, err := farshore.ParseGroupID(group)
	r := farshore.Round(number(last, "p", ".json"))
	if err != nil || GroupPointName(g, r) != name {
		return "", 0, errors.Join(fmt.Errorf("parse name %q: not that of a group's point", name), err)
	}
	return g, r, nil
}

// SegmentName is the name of a segment, or of the seal in its place.
func SegmentName(m farshore.MachineID, g farshore.Generation, e farshore.Epoch, s farshore.Seq) string {
	return EpochPrefix(m, g, e) + fmt.Sprintf("s%016x.fsj", uint64(s))
}

// NameOf is SegmentName of a position.
func NameOf(m farshore.MachineID, p farshore.Position) string {
	return SegmentName(m, p.Generation, p.Epoch, p.Seq)
}

// EpochPrefix begins the names of the segments of one epoch.
func EpochPrefix(m farshore.MachineID, g farshore.Generation, e farshore.Epoch) string {
	return JournalPrefix(m, g) + fmt.Sprintf("e%08x/", uint32(e))
}

// JournalPrefix begins the names of the segments of one generation.
func JournalPrefix(m farshore.MachineID, g farshore.Generation) string {
	return fmt.Sprintf("%s%s/g%08x/", JournalRoot, m, uint32(g))
}

// ClaimName is the name of the claim that begins an epoch.
func ClaimName(m farshore.MachineID, g farshore.Generation, e farshore.Epoch) string {
	return ClaimPrefix(m, g) + fmt.Sprintf("e%08x.json", uint32(e))
}

// RewrapName is the name of an epoch's data key, sealed to a recipient that came later than its claim. The recipient is
// named by its fingerprint.
func RewrapName(m farshore.MachineID, g farshore.Generation, e farshore.Epoch, recipient string) string {
	return RewrapPrefix(m, g, e) + recipient + ".json"
}

// RewrapWord stands in the name of every such object and of no other.
const RewrapWord = ".rewrap-"

// RewrapPrefix begins the names of what an epoch's data key was sealed to later.
func RewrapPrefix(m farshore.MachineID, g farshore.Generation, e farshore.Epoch) string {
	return ClaimPrefix(m, g) + fmt.Sprintf("e%08x%s", uint32(e), RewrapWord)
}

// ClaimPrefix begins the names of the claims of one generation.
func ClaimPrefix(m farshore.MachineID, g farshore.Generation) string {
	return fmt.Sprintf("%sg%08x/", MachinePrefix(m), uint32(g))
}

// MachinePrefix begins the names of what is kept about a machine besides its segments.
func MachinePrefix(m farshore.MachineID) string { return PointsRoot + string(m) + "/" }

// SpecPrefix begins the names of a machine's specs.
func SpecPrefix(m farshore.MachineID) string { return MachinePrefix(m) + "spec-" }

// SpecName is the name of the n-th spec of a machine; n counts from 1.
func SpecName(m farshore.MachineID, n uint32) string {
	return SpecPrefix(m) + fmt.Sprintf("%08x.json", n)
}

// CutPrefix begins the names of a generation's cuts.
func CutPrefix(m farshore.MachineID, g farshore.Generation) string { return ClaimPrefix(m, g) + "cut-" }

// CutName is the name of the n-th cut of a generation; n counts from 1.
func CutName(m farshore.MachineID, g farshore.Generation, n uint32) string {
	return CutPrefix(m, g) + fmt.Sprintf("%08x.json", n)
}

// ParseCutName is the inverse of [CutName].
func ParseCutName(name string) (farshore.MachineID, farshore.Generation, uint32, error) {
	m, parts, err := cutName(name, PointsRoot, 2)
	if err != nil {
		return "", 0, 0, err
	}
	g, n := farshore.Generation(number(parts[0], "g", "")), uint32(number(parts[1], "cut-", ".json"))
	if CutName(m, g, n) != name {
		return "", 0, 0, fmt.Errorf("parse name %q: not that of a cut", name)
	}
	return m, g, n, nil
}

// IndexPrefix begins the names of the indexes of a generation's headers.
func IndexPrefix(m farshore.MachineID, g farshore.Generation) string {
	return ClaimPrefix(m, g) + "index-"
}

// IndexName is the name of the index that begins at a position.
func IndexName(m farshore.MachineID, first farshore.Position) string {
	return IndexPrefix(m, first.Generation) + placeWord(first) + ".json"
}

// ParseIndexName is the inverse of [IndexName].
func ParseIndexName(name string) (farshore.MachineID, farshore.Position, error) {
	m, p, err := parsePlaceName(name, "index-")
	if err == nil && IndexName(m, p) != name {
		err = fmt.Errorf("parse name %q: not that of an index", name)
	}
	return m, p, err
}

// ManifestPrefix begins the names of the point manifests of a generation.
func ManifestPrefix(m farshore.MachineID, g farshore.Generation) string {
	return ClaimPrefix(m, g) + "manifest-"
}

// ManifestName is the name of the manifest of a recovery point.
func ManifestName(m farshore.MachineID, p farshore.Position) string {
	return ManifestPrefix(m, p.Generation) + placeWord(p) + ".json"
}

// ParseManifestName is the inverse of [ManifestName].
func ParseManifestName(name string) (farshore.MachineID, farshore.Position, error) {
	m, p, err := parsePlaceName(name, "manifest-")
	if err == nil && ManifestName(m, p) != name {
		err = fmt.Errorf("parse name %q: not that of a point manifest", name)
	}
	return m, p, err
}

// parsePlaceName reads the position in the name of a document about one. The caller compares the whole name.
func parsePlaceName(name, word string) (farshore.MachineID, farshore.Position, error) {
	m, parts, err := cutName(name, PointsRoot, 2)
	if err != nil {
		return "", farshore.Position{}, err
	}
	e, seq, _ := strings.Cut(strings.TrimPrefix(parts[1], word), "-")
	return m, farshore.Position{
		Generation: farshore.Generation(number(parts[0], "g", "")), Epoch: farshore.Epoch(number(e, "e", "")), Seq: farshore.Seq(number(seq, "s", ".json")),
	}, nil
}

// ChunksEnd ends the names of chunk lists, and of nothing else.
const ChunksEnd = ".fsc"

// ChunksName is the name of the chunk list of a disk at a recovery point.
func ChunksName(m farshore.MachineID, p farshore.Position, d farshore.DiskID) string {
	return ClaimPrefix(m, p.Generation) + "chunks-" + placeWord(p) + "-" + string(d) + ChunksEnd
}

// ReplicaPrefix begins the names of the replica disks of a generation, of their checkpoints and of the marks of bases.
func ReplicaPrefix(m farshore.MachineID, g farshore.Generation) string {
	return fmt.Sprintf("replica/v1/m/%s/g%08x/", m, uint32(g))
}

// ReplicaName is the name of a replica disk.
func ReplicaName(m farshore.MachineID, g farshore.Generation, d farshore.DiskID) string {
	return ReplicaPrefix(m, g) + string(d) + ".vhd"
}

// CheckpointName is the name of the manifest of a checkpoint.
func CheckpointName(m farshore.MachineID, p farshore.Position) string {
	return ReplicaPrefix(m, p.Generation) + "checkpoint-" + placeWord(p) + ".json"
}

// BaseName is the name of the mark that makes a checkpoint a base.
func BaseName(m farshore.MachineID, p farshore.Position) string {
	return ReplicaPrefix(m, p.Generation) + "base-" + placeWord(p) + ".json"
}

func placeWord(p farshore.Position) string {
	return fmt.Sprintf("e%08x-s%016x", uint32(p.Epoch), uint64(p.Seq))
}

// GoneName is the name of the tombstone of a generation.
func GoneName(m farshore.MachineID, g farshore.Generation) string {
	return MachinePrefix(m) + fmt.Sprintf("gone-g%08x.json", uint32(g))
}

// ParseGoneName is the inverse of [GoneName].
func ParseGoneName(name string) (farshore.MachineID, farshore.Generation, error) {
	m, parts, err := cutName(name, PointsRoot, 1)
	if err != nil {
		return "", 0, err
	}
	g := farshore.Generation(number(parts[0], "gone-g", ".json"))
	if GoneName(m, g) != name {
		return "", 0, fmt.Errorf("parse name %q: not that of a tombstone", name)
	}
	return m, g, nil
}

// RetentionPrefix begins the names of the retention policies of a machine.
func RetentionPrefix(m farshore.MachineID) string { return MachinePrefix(m) + "retention-" }

// RetentionName is the name of the n-th retention policy of a machine; n counts from 1.
func RetentionName(m farshore.MachineID, n uint32) string {
	return RetentionPrefix(m) + fmt.Sprintf("%08x.json", n)
}

// ParseRetentionName gives the number in a name that [RetentionName] made.
func ParseRetentionName(name string) (uint32, error) {
	m, parts, err := cutName(name, PointsRoot, 1)
	if err != nil {
		return 0, err
	}
	n := uint32(number(parts[0], "retention-", ".json"))
	if RetentionName(m, n) != name {
		return 0, fmt.Errorf("parse name %q: not that of a retention policy", name)
	}
	return n, nil
}

// PinPrefix begins the names of the pins on a machine's points.
func PinPrefix(m farshore.MachineID) string { return fmt.Sprintf("control/v1/pins/%s/", m) }

// PinName is the name of a pin: whoever holds it, and where.
func PinName(m farshore.MachineID, holder string, p farshore.Position) string {
	return PinPrefix(m) + holder + "-" + p.String() + ".json"
}

// ParseSegmentName is the inverse of [NameOf].
func ParseSegmentName(name string) (farshore.MachineID, farshore.Position, error) {
	m, parts, err := cutName(name, JournalRoot, 3)
	if err != nil {
		return "", farshore.Position{}, err
	}
	g, e, s := number(parts[0], "g", ""), number(parts[1], "e", ""), number(parts[2], "s", ".fsj")
	p := farshore.Position{Generation: farshore.Generation(g), Epoch: farshore.Epoch(e), Seq: farshore.Seq(s)}
	if NameOf(m, p) != name {
		return "", farshore.Position{}, fmt.Errorf("parse name %q: not that of a segment", name)
	}
	return m, p, nil
}

// ParseClaimName is the inverse of [ClaimName].
func ParseClaimName(name string) (farshore.MachineID, farshore.Generation, farshore.Epoch, error) {
	m, parts, err := cutName(name, PointsRoot, 2)
	if err != nil {
		return "", 0, 0, err
	}
	g, e := farshore.Generation(number(parts[0], "g", "")), farshore.Epoch(number(parts[1], "e", ".json"))
	if ClaimName(m, g, e) != name {
		return "", 0, 0, fmt.Errorf("parse name %q: not that of a claim", name)
	}
	return m, g, e, nil
}

// ParseSpecName is the inverse of [SpecName].
func ParseSpecName(name string) (farshore.MachineID, uint32, error) {
	m, parts, err := cutName(name, PointsRoot, 1)
	if err != nil {
		return "", 0, err
	}
	n := uint32(number(parts[0], "spec-", ".json"))
	if SpecName(m, n) != name {
		return "", 0, fmt.Errorf("parse name %q: not that of a machine's spec", name)
	}
	return m, n, nil
}

// cutName splits a name below root into the machine and the n parts behind it.
func cutName(name, root string, n int) (farshore.MachineID, []string, error) {
	rest, ok := strings.CutPrefix(name, root)
	parts := strings.Split(rest, "/")
	if !ok || len(parts) != n+1 {
		return "", nil, fmt.Errorf("parse name %q: want %sMACHINE/ and %d parts", name, root, n)
	}
	m, err := farshore.ParseMachineID(parts[0])
	if err != nil {
		return "", nil, fmt.Errorf("parse name %q: %w", name, err)
	}
	return m, parts[1:], nil
}

// number reads a hexadecimal number between two fixed words. What does not parse gives 0, which no name has: the caller
// compares the name made from the numbers with the one it was given.
func number(s, before, after string) uint64 {
	digits := strings.TrimSuffix(strings.TrimPrefix(s, before), after)
	n, err := strconv.ParseUint(digits, 16, 64)
	if err != nil {
		return 0
	}
	return n
}

// MachineOf reads the machine out of any name below [PointsRoot] or [JournalRoot].
func MachineOf(name string) (farshore.MachineID, bool) {
	for _, root := range []string{PointsRoot, JournalRoot} {
		rest, ok := strings.CutPrefix(name, root)
		if !ok {
			continue
		}
		first, _, ok := strings.Cut(rest, "/")
		m, err := farshore.ParseMachineID(first)
		return m, ok && err == nil
	}
	return "", false
}
