package azblob

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/bloberror"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"

	"farshore/dataplane/vault"
)

// hashKey is the metadata that holds the SHA-256 of an object, in hexadecimal.
const hashKey = "farshoresha256"

// immutable is the service's word for a blob that a policy keeps as it is.
const immutable bloberror.Code = "BlobImmutableDueToPolicy"

type store struct{ *account }

// blob gives the client of a named object.
func (a *account) blob(name string) (*blockblob.Client, error) {
	c, rest, err := vault.SplitName(name)
	if err != nil {
		return nil, err
	}
	return a.containers[c].NewBlockBlobClient(rest), nil
}

func (s *store) PutIfAbsent(ctx context.Context, name string, body []byte) (vault.Outcome, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	b, err := s.blob(name)
	if err != nil {
		return 0, err
	}
	if len(body) > vault.MaxObjectBytes {
		return 0, fmt.Errorf("put %s: %d bytes, at most %d", name, len(body), vault.MaxObjectBytes)
	}
	sum := sha256.Sum256(body)
	hash := hex.EncodeToString(sum[:])
	_, err = b.Upload(readily(ctx, int64(len(body))), sending(body), &blockblob.UploadOptions{
		Metadata:         map[string]*string{hashKey: &hash},
		AccessConditions: absent(),
	})
	switch {
	case err == nil:
		return vault.Created, nil
	case taken(err):
		return s.compare(ctx, name, hash)
	}
	return 0, s.trouble(ctx, "put "+name, err)
}

// absent is the condition that the name is free.
func absent() *blob.AccessConditions {
	return &blob.AccessConditions{ModifiedAccessConditions: &blob.ModifiedAccessConditions{IfNoneMatch: to.Ptr(azcore.ETagAny)}}
}

// taken reports whether a create-only request found something in its place. Which of the codes comes depends on the kind
// of request and on the container's immutability policy.
func taken(err error) bool {
	return bloberror.HasCode(err, bloberror.BlobAlreadyExists, bloberror.ConditionNotMet, immutable)
}

// compare finds out whether what stands in the place has our hash.
func (s *store) compare(ctx context.Context, name, hash string) (vault.Outcome, error) {
	b, err := s.blob(name)
	if err != nil {
		return 0, err
	}
	p, err := b.GetProperties(timed(ctx, 0), nil)
	if err != nil {
		return 0, s.trouble(ctx, "compare "+name, err)
	}
	if there := metadata(p.Metadata, hashKey); there == hash {
		return vault.Same, nil
	}
	return vault.Other, nil
}

// metadata finds a value; the service changes the case of the keys as it likes.
func metadata(all map[string]*string, key string) string {
	for k, v := range all {
		if strings.EqualFold(k, key) && v != nil {
			return *v
		}
	}
	return ""
}

func (s *store) Get(ctx context.Context, name string) ([]byte, error) {
	return s.get(ctx, name, blob.HTTPRange{})
}

func (s *store) GetRange(ctx context.Context, name string, offset, length int64) ([]byte, error) {
	if offset < 0 || length < 1 || length > vault.MaxObjectBytes {
		return nil, fmt.Errorf("get %s: no range of %d bytes from %d", name, length, offset)
	}
	body, err := s.get(ctx, name, blob.HTTPRange{Offset: offset, Count: length})
	if status(err) == http.StatusRequestedRangeNotSatisfiable { // behind the end
		return nil, nil
	}
	return body, err
}

func (s *store) get(ctx context.Context, name string, part blob.HTTPRange) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	b, err := s.blob(name)
	if err != nil {
		return nil, err
	}
	limit := part.Count
	if limit == 0 {
		limit = vault.MaxObjectBytes
	}
	doing := "get " + name
	answer, err := b.DownloadStream(timed(ctx, limit), &blob.DownloadStreamOptions{Range: part})
	if bloberror.HasCode(err, bloberror.BlobNotFound) || status(err) == http.StatusNotFound {
		return nil, fmt.Errorf("%s: %w", doing, vault.ErrNotFound)
	}
	if err != nil {
		return nil, s.trouble(ctx, doing, err)
	}
	body, err := read(ctx, answer, limit)
	if err != nil {
		return nil, s.trouble(ctx, doing, err)
	}
	return body, nil
}

// read takes a whole body; a connection that breaks is opened again where it broke, with the same time for each try.
func read(ctx context.Context, answer blob.DownloadStreamResponse, limit int64) ([]byte, error) {
	r := answer.NewRetryReader(timed(ctx, limit), &blob.RetryReaderOptions{MaxRetries: tries})
	if answer.ContentLength == nil || *answer.ContentLength < 0 || *answer.ContentLength > limit {
		return nil, errors.Join(fmt.Errorf("the answer names no length, or more than %d bytes", limit), r.Close())
	}
	body := make([]byte, *answer.ContentLength)
	_, err := io.ReadFull(r, body)
	if err := errors.Join(err, r.Close()); err != nil {
		return nil, fmt.Errorf("read a body of %d bytes: %w", len(body), err)
	}
	return body, nil
}

func (s *store) Delete(ctx context.Context, name string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	b, err := s.blob(name)
	if err != nil {
		return err
	}
	_, err = b.Delete(timed(ctx, 0), nil)
	if bloberror.HasCode(err, immutable, "BlobImmutableDueToLegalHold") {
		return fmt.Errorf("delete %s: %w", name, vault.ErrImmutable)
	}
	if err != nil && status(err) != http.StatusNotFound {
		return s.trouble(ctx, "delete "+name, err)
	}
	return nil
}

// Now reads the date of an answer.
func (s *store) Now(ctx context.Context) (time.Time, error) {
	p, err := s.containers[vault.Points].GetProperties(timed(ctx, 0), nil)
	if err != nil {
		return time.Time{}, s.trouble(ctx, "ask for the time", err)
	}
	if p.Date == nil {
		return time.Time{}, s.trouble(ctx, "ask for the time", errors.New("the answer has no date"))
	}
	return *p.Date, nil
}

func (s *store) List(ctx context.Context, prefix, after string) iter.Seq2[vault.Entry, error] {
	return s.list(ctx, prefix, after)
}

// list passes over the pages up to after: the service cannot begin in the middle in every version.
func (a *account) list(ctx context.Context, prefix, after string) iter.Seq2[vault.Entry, error] {
	return func(yield func(vault.Entry, error) bool) {
		c, rest, err := vault.SplitPrefix(prefix)
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			yield(vault.Entry{}, err)
			return
		}
		options := &container.ListBlobsFlatOptions{Prefix: &rest}
		if a.pageSize > 0 {
			options.MaxResults = &a.pageSize
		}
		for pager := a.containers[c].NewListBlobsFlatPager(options); pager.More(); {
			page, err := pager.NextPage(timed(ctx, 0))
			if err != nil {
				yield(vault.Entry{}, a.trouble(ctx, "list "+prefix, err))
				return
			}
			for _, b := range page.Segment.BlobItems {
				e := vault.Entry{Name: string(c) + "/" + *b.Name, Size: *b.Properties.ContentLength}
				if e.Name > after && !yield(e, nil) {
					return
				}
			}
		}
	}
}
