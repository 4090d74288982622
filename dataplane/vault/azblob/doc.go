// Package azblob keeps a vault in an Azure storage account: objects are block blobs, replica disks are page blobs. It runs
// alike on Azure and on the Azurite emulator.
//
// An object's SHA-256 stands in its metadata, so that a put which finds its name taken learns with one request whether
// the bytes are its own. A disk's writer is told apart by the page blob's sequence number: every page write names it, and
// the service refuses those that name an old one. State and snapshots are guarded by the blob's ETag. All puts are single
// requests from buffers of ours; every try has a time-out that grows with what it carries.
//
// Where Azurite 3.35 and 3.37 differ from Azure, the adapter does not ask, or goes round:
//   - They know no service version as new as the SDK's: for an emulator, and only for one, the version is overwritten.
//   - They accept page writes of more than 4 MiB, writes over the end and blobs of more than 8 TiB: refused here first.
//   - They answer GetPageRangesDiff with wrong ranges, store the framing of structured messages as content, ignore
//     customer-provided keys and immutability policies: none of these is used.
//   - A copy and its source share one list of pages: writing to a clone would change the snapshot it came from. There a
//     clone takes a detour over a second snapshot.
//   - Snapshots of one blob made within one millisecond share an id; nothing here makes two that fast.
//   - They lose what they acknowledged when they are killed: tests that kill run on vault/file.
package azblob
