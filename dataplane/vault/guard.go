package vault

import (
	"context"
)

// GuardState says whether a storage guards what it holds in some way.
type GuardState string

// The states of a guard. Unknown is said whenever nobody has answered: it never counts as on.
const (
	GuardOn      GuardState = "on"
	GuardOff     GuardState = "off"
	GuardUnknown GuardState = "unknown"
)

// Guard is one way in which a storage keeps what somebody deletes, or does not let it be deleted.
type Guard struct {
	Name   string
	State  GuardState
	Detail string // what was answered, or why nothing was
	Advice string // what to do about it
}

// Guarded is a store whose storage has guards of its own.
type Guarded interface {
	// Guards asks the storage. What cannot be found out is a guard of state unknown, never an error.
	Guards(ctx context.Context) []Guard
}

// GuardsOf gives the guards of a store's storage.
func GuardsOf(ctx context.Context, s Store) []Guard {
	if g, ok := s.(Guarded); ok {
		return g.Guards(ctx)
	}
	return []Guard{{
		Name: "soft delete, immutability", State: GuardOff, Detail: "a vault in a folder has neither",
		Advice: "keep copies of it that no program here can delete: snapshots of the file system, or farshore-restore export",
	}}
}
