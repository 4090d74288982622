package armsim

import (
	"context"
	"fmt"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/pageblob"
)

// SharedKeyBlobs reads page blobs of one storage account with its key.
type SharedKeyBlobs struct {
	credential *blob.SharedKeyCredential
}

// NewSharedKeyBlobs makes the reader.
func NewSharedKeyBlobs(account, key string) (*SharedKeyBlobs, error) {
	credential, err := blob.NewSharedKeyCredential(account, key)
	if err != nil {
		return nil, fmt.Errorf("read the storage key of %s: %w", account, err)
	}
	return &SharedKeyBlobs{credential: credential}, nil
}

func (b *SharedKeyBlobs) open(url string) (*pageblob.Client, error) {
	options := &pageblob.ClientOptions{}
	options.InsecureAllowCredentialWithHTTP = true
	options.Retry = policy.RetryOptions{MaxRetries: 2}
	return pageblob.NewClientWithSharedKeyCredential(url, b.credential, options)
}

// Size implements [Blobs].
func (b *SharedKeyBlobs) Size(ctx context.Context, url string) (int64, error) {
	client, err := b.open(url)
	if err != nil {
		return 0, err
	}
	props, err := client.GetProperties(ctx, nil)
	if err != nil {
		return 0, err
	}
	if props.BlobType == nil || *props.BlobType != blob.BlobTypePageBlob {
		return 0, fmt.Errorf("%s is not a page blob", url)
	}
	return *props.ContentLength, nil
}

// ReadAt implements [Blobs].
func (b *SharedKeyBlobs) ReadAt(ctx context.Context, url string, p []byte, offset int64) error {
	client, err := b.open(url)
	if err != nil {
		return err
	}
	r, err := client.DownloadStream(ctx, &blob.DownloadStreamOptions{Range: blob.HTTPRange{Offset: offset, Count: int64(len(p))}})
	if err != nil {
		return err
	}
	return readFull(r.Body, p)
}

// Ranges implements [Blobs].
func (b *SharedKeyBlobs) Ranges(ctx context.Context, url string) ([][2]int64, error) {
	client, err := b.open(url)
	if err != nil {
		return nil, err
	}
	var ranges [][2]int64
	for pager := client.NewGetPageRangesPager(nil); pager.More(); {
		page, err := pager.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, r := range page.PageRange {
			if n := len(ranges); n > 0 && ranges[n-1][0]+ranges[n-1][1] == *r.Start {
				ranges[n-1][1] += *r.End - *r.Start + 1
				continue
			}
			ranges = append(ranges, [2]int64{*r.Start, *r.End - *r.Start + 1})
		}
	}
	return ranges, nil
}
