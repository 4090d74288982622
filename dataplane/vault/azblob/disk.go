package azblob

import (
	"context"
	"crypto/md5" //nolint:gosec // the service's transfer checksum, no protection against anybody
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/bloberror"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/pageblob"

	"farshore/dataplane/block"
	"farshore/dataplane/vault"
	"farshore/fault"
)

// stateKey is the metadata that holds a disk's state, in base64.
const stateKey = "farshorestate"

type disk struct {
	*replicas
	name    string
	client  *pageblob.Client
	sectors block.Count
	token   *int64 // the blob's sequence number when this handle fenced; nil: not the writer
}

func (d *disk) Name() string         { return d.name }
func (d *disk) URL() string          { return d.client.URL() }
func (d *disk) Sectors() block.Count { return d.sectors }
func (d *disk) Close() error         { return nil }

// fenced turns a refused condition into ErrFenced and everything else into a fault. A condition is also refused when an
// earlier try of the same request was carried out and its answer lost: if we are still the writer, the caller may try again.
func (d *disk) fenced(ctx context.Context, doing string, err error) error {
	if status(err) != http.StatusPreconditionFailed {
		return d.trouble(ctx, doing, err)
	}
	p, look := d.client.GetProperties(timed(ctx, 0), nil)
	if look != nil {
		return d.trouble(ctx, doing, look)
	}
	if *p.BlobSequenceNumber != *d.token {
		return fmt.Errorf("%s: %w", doing, vault.ErrFenced)
	}
	return &fault.Fault{
		Code: "FS-3001", Kind: fault.Transient, Subject: "vault " + d.where, What: doing + ": an answer was lost",
		Remedy: "none if it passes; else check the network between here and the storage account", Err: err,
	}
}

// Fence raises the sequence number by a random step: no writer of this disk, nor of a removed one of its name, has had it.
func (d *disk) Fence(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	doing := "fence disk " + d.name
	p, err := d.client.GetProperties(timed(ctx, 0), nil)
	if err != nil {
		return d.trouble(ctx, doing, err)
	}
	token := *p.BlobSequenceNumber + 1 + rand.Int64N(1<<32)
	_, err = d.client.UpdateSequenceNumber(timed(ctx, 0), &pageblob.UpdateSequenceNumberOptions{
		ActionType: to.Ptr(pageblob.SequenceNumberActionTypeUpdate), SequenceNumber: &token, AccessConditions: matching(p.ETag),
	})
	if status(err) == http.StatusPreconditionFailed { // somebody fenced at the same time: we ourselves, if an answer was lost
		if p, err = d.client.GetProperties(timed(ctx, 0), nil); err == nil && *p.BlobSequenceNumber != token {
			return fmt.Errorf("%s: %w", doing, vault.ErrFenced)
		}
	}
	if err != nil {
		return d.trouble(ctx, doing, err)
	}
	d.token = &token
	return nil
}

func matching(tag *azcore.ETag) *blob.AccessConditions {
	return &blob.AccessConditions{ModifiedAccessConditions: &blob.ModifiedAccessConditions{IfMatch: tag}}
}

// writing is the condition that this handle is still the writer.
func (d *disk) writing(ctx context.Context, doing string) (*pageblob.SequenceNumberAccessConditions, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if d.token == nil {
		return nil, fmt.Errorf("%s: %w", doing, vault.ErrFenced)
	}
	return &pageblob.SequenceNumberAccessConditions{IfSequenceNumberEqualTo: d.token}, nil
}

// guarded looks at the disk and gives the condition that nothing about it changes before the next request: the requests
// that follow cannot name the sequence number.
func (d *disk) guarded(ctx context.Context, doing string) (*blob.AccessConditions, error) {
	if _, err := d.writing(ctx, doing); err != nil {
		return nil, err
	}
	p, err := d.client.GetProperties(timed(ctx, 0), nil)
	if err != nil {
		return nil, d.trouble(ctx, doing, err)
	}
	if *p.BlobSequenceNumber != *d.token {
		return nil, fmt.Errorf("%s: %w", doing, vault.ErrFenced)
	}
	return matching(p.ETag), nil
}

func (d *disk) ReadAt(ctx context.Context, p []byte, at block.Sector) error {
	if err := vault.CheckTransfer(d, at, len(p), 0); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return d.readPages(ctx, d.client, p, at)
}

func (d *disk) readPages(ctx context.Context, from *pageblob.Client, p []byte, at block.Sector) error {
	doing := fmt.Sprintf("read disk %s at sector %d", d.name, at)
	part := blob.HTTPRange{Offset: at.Offset(), Count: int64(len(p))}
	answer, err := from.DownloadStream(timed(ctx, part.Count), &blob.DownloadStreamOptions{Range: part})
	if bloberror.HasCode(err, bloberror.BlobNotFound) || status(err) == http.StatusNotFound {
		return fmt.Errorf("%s: %w", doing, vault.ErrNotFound)
	}
	if err != nil {
		return d.trouble(ctx, doing, err)
	}
	r := answer.NewRetryReader(timed(ctx, part.Count), &blob.RetryReaderOptions{MaxRetries: tries})
	_, err = io.ReadFull(r, p)
	if err := errors.Join(err, r.Close()); err != nil {
		return d.trouble(ctx, doing, err)
	}
	return nil
}

func (d *disk) WriteAt(ctx context.Context, p []byte, at block.Sector) error {
	if err := vault.CheckTransfer(d, at, len(p), vault.MaxWriteBytes); err != nil {
		return err
	}
	doing := fmt.Sprintf("write disk %s at sector %d", d.name, at)
	writer, err := d.writing(ctx, doing)
	if err != nil {
		return err
	}
	sum := md5.Sum(p) //nolint:gosec // see the import
	part := blob.HTTPRange{Offset: at.Offset(), Count: int64(len(p))}
	_, err = d.client.UploadPages(surely(ctx, part.Count), sending(p), part, &pageblob.UploadPagesOptions{
		SequenceNumberAccessConditions: writer, TransactionalValidation: blob.TransferValidationTypeMD5(sum[:]),
	})
	if err != nil {
		return d.fenced(ctx, doing, err)
	}
	return nil
}

func (d *disk) Zero(ctx context.Context, e block.Extent) error {
	if err := vault.CheckExtent(d, e); err != nil {
		return err
	}
	doing := fmt.Sprintf("zero disk %s at %v", d.name, e)
	writer, err := d.writing(ctx, doing)
	if err != nil {
		return err
	}
	part := blob.HTTPRange{Offset: e.Start.Offset(), Count: e.Count.Bytes()}
	_, err = d.client.ClearPages(surely(ctx, 0), part, &pageblob.ClearPagesOptions{SequenceNumberAccessConditions: writer})
	if err != nil {
		return d.fenced(ctx, doing, err)
	}
	return nil
}

func (d *disk) Resize(ctx context.Context, sectors block.Count) error {
	if err := vault.CheckSize(d.name, sectors); err != nil {
		return err
	}
	doing := "resize disk " + d.name
	unchanged, err := d.guarded(ctx, doing)
	if err != nil {
		return err
	}
	if _, err := d.client.Resize(timed(ctx, 0), sectors.Bytes(), &pageblob.ResizeOptions{AccessConditions: unchanged}); err != nil {
		return d.fenced(ctx, doing, err)
	}
	d.sectors = sectors
	return nil
}

func (d *disk) State(ctx context.Context) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	doing := "read the state of disk " + d.name
	p, err := d.client.GetProperties(timed(ctx, 0), nil)
	if err != nil {
		return nil, d.trouble(ctx, doing, err)
	}
	return decodeState(doing, p.Metadata)
}

func decodeState(doing string, all map[string]*string) ([]byte, error) {
	state, err := base64.StdEncoding.DecodeString(metadata(all, stateKey))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", doing, err)
	}
	return state, nil
}

func (d *disk) SetState(ctx context.Context, state []byte) error {
	if err := vault.CheckState(d.name, state); err != nil {
		return err
	}
	doing := "store the state of disk " + d.name
	unchanged, err := d.guarded(ctx, doing)
	if err != nil {
		return err
	}
	encoded := base64.StdEncoding.EncodeToString(state)
	all := map[string]*string{stateKey: &encoded}
	if encoded == "" { // no empty values in headers
		all = nil
	}
	if _, err := d.client.SetMetadata(timed(ctx, 0), all, &blob.SetMetadataOptions{AccessConditions: unchanged}); err != nil {
		return d.fenced(ctx, doing, err)
	}
	return nil
}
