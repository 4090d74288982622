package vault

import (
	"fmt"
	"strings"
)

// Container is the first part of a name. Each is a container of the storage account, so that each can have its own
// immutability policy and its own access rights.
type Container string

// The containers of a vault.
const (
	Journal Container = "journal" // segments
	Points  Container = "points"  // vault.json, claims, sealed keys, specs: kept as long as anything
	Replica Container = "replica" // replica disks and what was made of them
	Control Container = "control" // the configuration server's own; nothing in it is needed to recover
)

// Containers lists the containers of a vault.
func Containers() []Container { return []Container{Journal, Points, Replica, Control} }

// MaxNameBytes is the longest name of an object.
const MaxNameBytes = 512

// SplitName checks a name and splits it into its container and the rest. Names are made of parts of a-z, A-Z, 0-9, '.',
// '_' and '-', divided by '/'. No part is "." or "..".
func SplitName(name string) (Container, string, error) {
	c, rest, err := SplitPrefix(name)
	if err != nil {
		return "", "", err
	}
	for part := range strings.SplitSeq(rest, "/") {
		if part == "" || part == "." || part == ".." {
			return "", "", fmt.Errorf("name %q: an empty part, or one of dots only", name)
		}
	}
	return c, rest, nil
}

// SplitPrefix is SplitName for the beginning of names: behind the container's '/' anything may be missing.
func SplitPrefix(prefix string) (Container, string, error) {
	first, rest, ok := strings.Cut(prefix, "/")
	if !ok || len(prefix) > MaxNameBytes || strings.Contains("/"+rest, "/../") {
		return "", "", fmt.Errorf("name %q: want CONTAINER/... of at most %d bytes", prefix, MaxNameBytes)
	}
	for i := range len(rest) {
		if !nameByte(rest[i]) {
			return "", "", fmt.Errorf("name %q: byte %q does not belong in a name", prefix, rest[i])
		}
	}
	for _, c := range Containers() {
		if string(c) == first {
			return c, rest, nil
		}
	}
	return "", "", fmt.Errorf("name %q: a vault has no container %q", prefix, first)
}

func nameByte(b byte) bool {
	switch {
	case b >= 'a' && b <= 'z', b >= 'A' && b <= 'Z', b >= '0' && b <= '9':
		return true
	}
	return b == '.' || b == '_' || b == '-' || b == '/'
}
