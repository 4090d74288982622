// Package vault is the seam to storage: everything needed to recover lies behind it. A [Store] keeps small objects that
// can be created but never replaced (segments, claims, manifests); [Replicas] keeps disks that can be written at any
// place, snapshotted and cloned. The package also holds the vault's identity and keys (vault.json, [Vault]).
//
// Adapters: vault/file (a folder) and vault/azblob (an Azure storage account); vault/connect opens either from a
// [Config]. vault/storetest is the one suite both must pass, and the fault script that other packages test with.
//
// Invariants:
//   - What PutIfAbsent has answered with Created or Same is on stable storage and is never changed by anybody.
//   - Of any number of writers that put one name, exactly one is told Created; the others learn whether the winner's
//     bytes were theirs.
//   - A replica disk has one writer: the last one that fenced it. Writes of any earlier one fail with [ErrFenced], even
//     those that were on their way.
//   - A snapshot never changes.
//
// The package knows nothing of what the objects mean: names and formats belong to dataplane/chain and dataplane/journal.
package vault
