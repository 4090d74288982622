package document

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
)

// The beginning of every document: the checksum stands where the zeros are.
const (
	front  = `{"checksum":"`
	zeros  = "00000000"
	behind = `",`
	head   = len(front) + len(zeros) + len(behind)
)

// ErrDamaged is wrapped by every error of Decode about bytes that are not what was written.
var ErrDamaged = errors.New("damaged")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Encode gives the bytes to store of a struct with at least one member.
func Encode(members any) ([]byte, error) {
	body, err := json.Marshal(members)
	if err != nil {
		return nil, fmt.Errorf("write a document: %w", err)
	}
	if len(body) < 2 || body[0] != '{' || body[1] == '}' {
		return nil, fmt.Errorf("write a document: %T has no members", members)
	}
	stored := append([]byte(front+zeros+behind), body[1:]...)
	stored = append(stored, '\n')
	copy(stored[len(front):], fmt.Sprintf("%08x", crc32.Checksum(stored, castagnoli)))
	return stored, nil
}

// Decode reads what Encode gave.
func Decode(stored []byte, into any) error {
	if len(stored) <= head || string(stored[:len(front)]) != front {
		return fmt.Errorf("read a document: %w: %d bytes, and no checksum in front", ErrDamaged, len(stored))
	}
	blank := append([]byte(front+zeros), stored[len(front)+len(zeros):]...)
	named, want := string(stored[len(front):len(front)+len(zeros)]), fmt.Sprintf("%08x", crc32.Checksum(blank, castagnoli))
	if named != want {
		return fmt.Errorf("read a document: %w: it names the checksum %q, its bytes give %s", ErrDamaged, named, want)
	}
	if err := json.Unmarshal(stored, into); err != nil {
		return fmt.Errorf("read a document: %w", err)
	}
	return nil
}
