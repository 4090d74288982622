package archive

import (
	"fmt"

	"farshore"
	"farshore/dataplane/chain"
	"farshore/dataplane/segment"
	"farshore/dataplane/vault"
	"farshore/fault"
)

// check looks at the objects of an archive as they pass: each has a name of a vault, and segments are those of the head's
// parts, whole, each following on the one in front.
type check struct {
	head  Head
	part  int
	walk  *chain.Walk // in the part; nil: it is not begun
	first map[int]segment.Hash
}

func newCheck(h Head) *check {
	return &check{head: h, first: map[int]segment.Hash{}}
}

func damaged(name, what string, err error) error {
	return &fault.Fault{
		Code: "FS-3541", Kind: fault.Corrupt, Subject: name, What: what, Remedy: "make the archive again, or get another copy of it", Err: err,
	}
}

func (c *check) take(name string, body []byte) error {
	container, _, err := vault.SplitName(name)
	if err != nil {
		return damaged(name, "it is no name of an object", err)
	}
	if container == vault.Points {
		return nil // what it is worth is judged by whoever believes it
	}
	m, at, err := chain.ParseSegmentName(name)
	if err != nil {
		return damaged(name, "it has no place in an archive", err)
	}
	s, err := segment.Parse(body)
	if err != nil {
		return damaged(name, "the segment is damaged", err)
	}
	if err := c.begin(m, at, s); err != nil {
		return damaged(name, "the segment is not the one that comes next", err)
	}
	if err := c.walk.Take(s.Header(), s.Hash()); err != nil {
		return damaged(name, "the segment does not follow on the one in front", err)
	}
	if c.walk.At().Position.String() == c.head.Parts[c.part].To {
		c.part, c.walk = c.part+1, nil
	}
	return nil
}

// begin makes sure that a segment belongs to the part, and starts the part with it.
func (c *check) begin(m farshore.MachineID, at farshore.Position, s *segment.Segment) error {
	if c.part == len(c.head.Parts) {
		return fmt.Errorf("nothing more is announced")
	}
	part, h := c.head.Parts[c.part], s.Header()
	if m != part.Machine || at.Generation != part.Generation || h.Position() != at || h.Machine != m || h.Vault.String() != c.head.Vault {
		return fmt.Errorf("it is %s of machine %s in vault %s", h.Position(), h.Machine, h.Vault)
	}
	if c.walk != nil {
		return nil
	}
	stream := chain.Stream{Vault: h.Vault, Machine: m, Generation: part.Generation}
	if part.From == "" {
		c.walk = chain.NewWalk(chain.Start(stream))
		return nil
	}
	from, err := farshore.ParsePosition(part.From)
	if err != nil {
		return err
	}
	// What lies in front is not here: whether this follows on it is seen where it is brought.
	front := chain.Link{
		Stream: stream, Position: from, Hash: h.Previous, LastLSN: h.FirstLSN - 1, Seal: at.Epoch > from.Epoch, UTC: h.UTC, Disks: h.Disks,
	}
	if front.Next() != at {
		return fmt.Errorf("%s does not come behind %s", at, from)
	}
	c.first[c.part] = h.Previous
	c.walk = chain.NewWalk(front)
	return nil
}

// end makes sure that nothing is missing.
func (c *check) end() error {
	if c.part < len(c.head.Parts) {
		p := c.head.Parts[c.part]
		return damaged("machine "+string(p.Machine), fmt.Sprintf("its stream ends before %s", p.To), nil)
	}
	return nil
}
