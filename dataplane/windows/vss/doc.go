// Package vss makes volume shadow copies of a set of volumes at one instant, as a requester of the Volume Shadow Copy Service.
//
// [Take] goes the whole way that the service asks for. With applications it is: initialise, context, state, gather the
// writers' metadata, add the volumes, prepare, snapshot, and ask every writer how it fared; [Set.Release] tells the writers
// that the copy is complete and deletes the shadow copies. Without applications no writer is asked. Every step has a time
// limit, and whatever was begun is ended in every case.
//
// A writer that did not succeed is no reason to have nothing: the set is then worth as much as a power cut (crash-consistent),
// and says why. The backup is declared a copy (VSS_BT_COPY): no database cuts off its log for it.
//
// The calls are behind [API]; that of Windows is made by [New]. The shadow copies belong to the requester: they go when this
// process goes.
//
// Source: "Volume Shadow Copy Service", "Overview of Processing a Backup Under VSS" of the Windows SDK.
package vss
