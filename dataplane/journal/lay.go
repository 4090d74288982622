package journal

import (
	"context"
	"fmt"

	"farshore"
	"farshore/dataplane/block"
	"farshore/dataplane/vault"
	"farshore/fault"
)

// Lay reads what a base holds of one of its disks and gives it to write, in order; what it leaves out is zero. Every chunk of the
// snapshot is compared with the signed list before it is written (FS-4011).
func (r Reader) Lay(
	ctx context.Context, base *Manifest, d ManifestDisk, replicas vault.Replicas, write func(content []byte, at block.Sector) error,
) error {
	chunks, err := r.Chunks(ctx, *base, d)
	if err != nil {
		return err
	}
	return base.Use(ctx, replicas, d, func(from vault.ReplicaDisk) error {
		buffer := make([]byte, vault.MaxWriteBytes)
		for n := range chunks.Len() {
			if chunks.Zero(n) {
				continue
			}
			e := chunks.Extent(n)
			content := buffer[:e.Count.Bytes()]
			if err := from.ReadSnapshot(ctx, d.Snapshot, content, e.Start); err != nil {
				return err
			}
			if !chunks.Matches(n, content) {
				return NotAsSigned(base.At.Stream.Machine, base.At.Position, d.Disk, e)
			}
			if err := write(content, e.Start); err != nil {
				return err
			}
		}
		return nil
	})
}

// NotAsSigned is the fault of a snapshot that does not hold what its manifest says (FS-4011).
func NotAsSigned(m farshore.MachineID, p farshore.Position, disk farshore.DiskID, e block.Extent) error {
	return &fault.Fault{
		Code: "FS-4011", Kind: fault.Corrupt, Subject: fmt.Sprintf("machine %s, point %v, disk %s", m, p, disk),
		What:   fmt.Sprintf("its snapshot does not hold what the signed manifest says at byte %d, in %d bytes", e.Start.Offset(), e.Count.Bytes()),
		Remedy: "choose another recovery point; find out who writes to replica disks besides Farshore",
	}
}
