package changelog

import (
	"bytes"
	"testing"

	"farshore/tests/flips"
)

func TestNoFlippedBitInAChangeLogGoesUnnoticed(t *testing.T) {
	path, content := spilled(t)
	flips.Try(t, flips.Object{Kind: "change log", Stored: content, Read: func(stored []byte) error {
		r, err := Inspect(bytes.NewReader(stored), int64(len(stored)))
		if err != nil {
			return err
		}
		return r.Fault(path)
	}})
}
