package azblob

import (
	"context"
	"fmt"
	"iter"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/pageblob"

	"farshore/dataplane/block"
	"farshore/dataplane/host"
	"farshore/dataplane/vault"
)

// copyPause is how often a copy under way is looked at.
const copyPause = time.Second

type replicas struct{ *account }

// pages gives the client of a replica disk.
func (r *replicas) pages(name string) (*pageblob.Client, error) {
	rest, err := vault.SplitDiskName(name)
	if err != nil {
		return nil, err
	}
	return r.containers[vault.Replica].NewPageBlobClient(rest), nil
}

func (r *replicas) Create(ctx context.Context, name string, sectors block.Count) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := vault.CheckSize(name, sectors); err != nil {
		return err
	}
	client, err := r.pages(name)
	if err != nil {
		return err
	}
	_, err = client.Create(timed(ctx, 0), sectors.Bytes(), &pageblob.CreateOptions{
		SequenceNumber:   to.Ptr(rand.Int64N(1 << 32)),
		AccessConditions: absent(),
	})
	if taken(err) {
		return fmt.Errorf("make disk %s: %w", name, vault.ErrExists)
	}
	if err != nil {
		return r.trouble(ctx, "make disk "+name, err)
	}
	return nil
}

func (r *replicas) Open(ctx context.Context, name string) (vault.ReplicaDisk, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	client, err := r.pages(name)
	if err != nil {
		return nil, err
	}
	p, err := r.settled(ctx, client, "open disk "+name)
	if err != nil {
		return nil, err
	}
	return &disk{replicas: r, name: name, client: client, sectors: block.Count(*p.ContentLength / block.SectorSize)}, nil
}

// settled waits until no copy into the blob is under way. A copy that came to nothing left no disk.
func (r *replicas) settled(ctx context.Context, client *pageblob.Client, doing string) (blob.GetPropertiesResponse, error) {
	for {
		p, err := client.GetProperties(timed(ctx, 0), nil)
		if status(err) == http.StatusNotFound {
			return p, fmt.Errorf("%s: %w", doing, vault.ErrNotFound)
		}
		if err != nil {
			return p, r.trouble(ctx, doing, err)
		}
		if p.CopyStatus == nil || *p.CopyStatus == blob.CopyStatusTypeSuccess {
			return p, nil
		}
		if *p.CopyStatus != blob.CopyStatusTypePending {
			return p, fmt.Errorf("%s: its copy ended as %s: %w", doing, *p.CopyStatus, vault.ErrNotFound)
		}
		if err := host.Pause(ctx, copyPause); err != nil {
			return p, err
		}
	}
}

func (r *replicas) Remove(ctx context.Context, name string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	client, err := r.pages(name)
	if err != nil {
		return err
	}
	doing := "remove disk " + name
	p, err := client.GetProperties(timed(ctx, 0), nil)
	if status(err) == http.StatusNotFound {
		return nil
	}
	if err != nil {
		return r.trouble(ctx, doing, err)
	}
	_, err = client.Delete(timed(ctx, 0), &blob.DeleteOptions{ // of this very disk: a late try must not remove the next one
		DeleteSnapshots: to.Ptr(blob.DeleteSnapshotsOptionTypeInclude), AccessConditions: matching(p.ETag),
	})
	if err != nil && status(err) != http.StatusNotFound {
		return r.trouble(ctx, doing, err)
	}
	return nil
}

func (r *replicas) List(ctx context.Context, prefix string) iter.Seq2[vault.Entry, error] {
	return vault.DisksOf(prefix, r.list(ctx, prefix, ""))
}
