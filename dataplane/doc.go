// Package dataplane holds the way of a block, outside the workflow engine:
//
//	protected server                     on premises                        Azure (or any recovery site)
//	disk --> tracker --> agent --9443--> process server --443--> vault: journal segments --> applier --> replica disks
//
// Nothing below it imports Temporal, Azure Resource Manager or vSphere. Control never touches bytes and bytes never wait
// for control. The floors of the tree are listed in docs/ARCHITECTURE.md and held by tests/arch.
package dataplane
