package azblob

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/bloberror"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/pageblob"

	"farshore/dataplane/block"
	"farshore/dataplane/vault"
)

func (d *disk) Snapshot(ctx context.Context) (vault.SnapshotID, error) {
	doing := "snapshot disk " + d.name
	unchanged, err := d.guarded(ctx, doing)
	if err != nil {
		return "", err
	}
	answer, err := d.client.CreateSnapshot(timed(ctx, 0), &blob.CreateSnapshotOptions{AccessConditions: unchanged})
	if err != nil {
		return "", d.fenced(ctx, doing, err)
	}
	return vault.SnapshotID(*answer.Snapshot), nil
}

func (d *disk) Snapshots(ctx context.Context) ([]vault.Snapshot, error) {
	doing := "list the snapshots of disk " + d.name
	rest, err := vault.SplitDiskName(d.name)
	if err != nil {
		return nil, err
	}
	var found []vault.Snapshot
	pager := d.containers[vault.Replica].NewListBlobsFlatPager(&container.ListBlobsFlatOptions{
		Prefix: &rest, Include: container.ListBlobsInclude{Snapshots: true, Metadata: true},
	})
	for pager.More() {
		page, err := pager.NextPage(timed(ctx, 0))
		if err != nil {
			return nil, d.trouble(ctx, doing, err)
		}
		for _, b := range page.Segment.BlobItems {
			if *b.Name != rest || b.Snapshot == nil || *b.Snapshot == "" {
				continue
			}
			state, err := decodeState(doing, b.Metadata)
			if err != nil {
				return nil, err
			}
			found = append(found, vault.Snapshot{ID: vault.SnapshotID(*b.Snapshot), State: state})
		}
	}
	slices.SortFunc(found, func(a, b vault.Snapshot) int { return strings.Compare(string(a.ID), string(b.ID)) })
	return found, nil
}

func (d *disk) ReadSnapshot(ctx context.Context, id vault.SnapshotID, p []byte, at block.Sector) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	frozen, err := d.client.WithSnapshot(string(id))
	if err != nil {
		return fmt.Errorf("read snapshot %s of disk %s: %w", id, d.name, err)
	}
	return d.readPages(ctx, frozen, p, at)
}

func (d *disk) RemoveSnapshot(ctx context.Context, id vault.SnapshotID) error {
	doing := fmt.Sprintf("remove snapshot %s of disk %s", id, d.name)
	if _, err := d.guarded(ctx, doing); err != nil {
		return err
	}
	frozen, err := d.client.WithSnapshot(string(id))
	if err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	_, err = frozen.Delete(timed(ctx, 0), nil)
	if err != nil && status(err) != http.StatusNotFound {
		return d.trouble(ctx, doing, err)
	}
	return nil
}

// CloneTo copies inside the account; no byte passes through here.
func (d *disk) CloneTo(ctx context.Context, id vault.SnapshotID, name string) error {
	doing := fmt.Sprintf("clone snapshot %s of disk %s to %s", id, d.name, name)
	if err := ctx.Err(); err != nil {
		return err
	}
	frozen, err := d.client.WithSnapshot(string(id))
	if err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	target, err := d.pages(name)
	if err != nil {
		return err
	}
	if d.emulator {
		return d.copyTwice(ctx, doing, frozen, target)
	}
	return d.copyBlob(ctx, doing, frozen, target)
}

// copyBlob makes target out of from, whatever snapshot from stands for.
func (d *disk) copyBlob(ctx context.Context, doing string, from, target *pageblob.Client) error {
	_, err := target.StartCopyFromURL(timed(ctx, 0), from.URL(), &blob.StartCopyFromURLOptions{AccessConditions: absent()})
	switch {
	case taken(err):
		return fmt.Errorf("%s: %w", doing, vault.ErrExists)
	case bloberror.HasCode(err, bloberror.CannotVerifyCopySource) || status(err) == http.StatusNotFound:
		return fmt.Errorf("%s: %w", doing, vault.ErrNotFound)
	case err != nil:
		return d.trouble(ctx, doing, err)
	}
	_, err = d.settled(ctx, target, doing)
	return err
}

// copyTwice is for Azurite, where a copy and its source share one list of pages, so that a write to the copy changes the
// snapshot. Only taking a snapshot makes a list of its own: so copy, snapshot the copy, copy that, and remove the first.
func (d *disk) copyTwice(ctx context.Context, doing string, from, target *pageblob.Client) error {
	between, err := d.between(ctx, doing, target)
	if err != nil {
		return err
	}
	if err := d.copyBlob(ctx, doing, from, between); err != nil {
		return err
	}
	answer, err := between.CreateSnapshot(timed(ctx, 0), nil)
	if err != nil {
		return d.trouble(ctx, doing, err)
	}
	frozen, err := between.WithSnapshot(*answer.Snapshot)
	if err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	if err := d.copyBlob(ctx, doing, frozen, target); err != nil {
		return err
	}
	_, err = d.between(ctx, doing, target)
	return err
}

// between gives the place of the first copy, empty.
func (d *disk) between(ctx context.Context, doing string, target *pageblob.Client) (*pageblob.Client, error) {
	name, err := blob.ParseURL(target.URL())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", doing, err)
	}
	between := d.containers[vault.Replica].NewPageBlobClient(name.BlobName + ".copy")
	_, err = between.Delete(timed(ctx, 0), &blob.DeleteOptions{DeleteSnapshots: to.Ptr(blob.DeleteSnapshotsOptionTypeInclude)})
	if err != nil && status(err) != http.StatusNotFound {
		return nil, d.trouble(ctx, doing, err)
	}
	return between, nil
}
