package archive

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"farshore/dataplane/vault"
	"farshore/fault"
)

// carrier is what an archive is written to. Entries are put in the order of the plan.
type carrier interface {
	// kept gives an entry that a former try has stored, or nil. Entries are asked for in their order.
	kept(ctx context.Context, name string) ([]byte, error)
	put(ctx context.Context, name string, body []byte) error
	// grows reports whether an archive with another head may be made of what is there: in a folder nothing has its place.
	grows() bool
	// finish stores the last entry and makes the archive durable under its name.
	finish(ctx context.Context, sums []byte) error
	// close gives back what is open. What was put stays, to go on from.
	close() error
}

// Exported is what was written.
type Exported struct {
	Objects int   `json:"objects"`
	Bytes   int64 `json:"bytes"`
	Kept    int   `json:"kept"` // of the objects: were there from a try before
}

// Export writes an archive to a file, or to a folder if it ends with a slash or is one. A try that was broken off is
// continued. told, which may be nil, hears of bytes as they are written.
func Export(ctx context.Context, s vault.Store, p Plan, path string, told func(int64)) (done Exported, err error) {
	c, err := create(path)
	if err != nil {
		return done, err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	head, err := p.Head.encode()
	if err != nil {
		return done, err
	}
	switch there, err := c.kept(ctx, HeadName); {
	case err != nil:
		return done, err
	case there != nil && !bytes.Equal(there, head) && c.grows():
		if err := c.put(ctx, HeadName, head); err != nil {
			return done, err
		}
	case there != nil && !bytes.Equal(there, head):
		return done, &fault.Fault{
			Code: "FS-3540", Kind: fault.Refused, Subject: "archive " + path, What: "it was begun with other machines or positions",
			Remedy: "name the same ones, with --to, to go on with it; or remove it", Err: fmt.Errorf("it holds %s", there),
		}
	case there == nil:
		if err := c.put(ctx, HeadName, head); err != nil {
			return done, err
		}
	}
	check := newCheck(p.Head)
	var sums bytes.Buffer
	note(&sums, HeadName, head)
	for _, o := range p.Objects {
		body, err := c.kept(ctx, o.Name)
		if err != nil {
			return done, err
		}
		if body != nil {
			done.Kept++
		} else if body, err = s.Get(ctx, o.Name); err != nil {
			return done, fmt.Errorf("read %s: %w", o.Name, err)
		} else if err := c.put(ctx, o.Name, body); err != nil {
			return done, err
		}
		if err := check.take(o.Name, body); err != nil {
			return done, err
		}
		note(&sums, o.Name, body)
		done.Objects, done.Bytes = done.Objects+1, done.Bytes+int64(len(body))
		if told != nil {
			told(int64(len(body)))
		}
	}
	if err := check.end(); err != nil {
		return done, err
	}
	return done, c.finish(ctx, sums.Bytes())
}

// note adds a line as sha256sum writes it.
func note(sums *bytes.Buffer, name string, body []byte) {
	fmt.Fprintf(sums, "%x  %s\n", sha256.Sum256(body), name)
}
