package journal

import (
	"cmp"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"farshore"
	"farshore/dataplane/chain"
	"farshore/dataplane/credential"
	"farshore/dataplane/segment"
	"farshore/fault"
)

// The limits of a point that machines share; see docs/formats/group.md.
const (
	MaxGroupBytes   = 256 << 10
	MaxPartBytes    = 8 << 10
	MinGroupMembers = 2
	MaxGroupMembers = 32
	maxMissingBytes = 256
)

// ByFreeze is the method by which members are held still together.
const ByFreeze = "freeze"

// GroupPart is what a member signs of a point that it shares: where its own stream stands at the common instant.
type GroupPart struct {
	Version     int                  `json:"version"`
	Group       farshore.GroupID     `json:"group"`
	Round       farshore.Round       `json:"round"`
	Leader      farshore.MachineID   `json:"leader"`
	Machine     farshore.MachineID   `json:"machine"`
	Position    string               `json:"position"` // the end of its marker segment
	Hash        string               `json:"hash"`     // of that segment, in hexadecimal
	Method      string               `json:"method"`
	Consistency farshore.Consistency `json:"consistency"`
	HeldNanos   int64                `json:"heldNanos"`
	Time        time.Time            `json:"time"` // the member's clock
}

// Place is the position of the marker; zero if it cannot be read.
func (p GroupPart) Place() farshore.Position {
	at, _ := farshore.ParsePosition(p.Position)
	return at
}

// Missing is a machine of a group that is not in a point, and why.
type Missing struct {
	Machine farshore.MachineID `json:"machine"`
	Why     string             `json:"why"`
}

// GroupPoint is one point of each of several machines: together they are a consistent cut.
type GroupPoint struct {
	Group   farshore.GroupID  `json:"group"`
	Round   farshore.Round    `json:"round"`
	Parts   []GroupPart       `json:"parts"`             // in the order of their machines
	Missing []Missing         `json:"missing,omitempty"` // a point without them is told to be one
	Time    time.Time         `json:"time"`              // the leader's clock
	By      farshore.Identity `json:"by"`
}

// Consistency is that of the weakest part.
func (g GroupPoint) Consistency() farshore.Consistency {
	for _, p := range g.Parts {
		if p.Consistency != farshore.AppConsistent {
			return farshore.CrashConsistent
		}
	}
	return farshore.AppConsistent
}

type groupDocument struct {
	Version int              `json:"version"`
	Group   farshore.GroupID `json:"group"`
	Round   farshore.Round   `json:"round"`
	Members []groupMember    `json:"members"`
	Missing []Missing        `json:"missing,omitempty"`
	Time    time.Time        `json:"time"`
}

type groupMember struct {
	Machine farshore.MachineID `json:"machine"`
	Part    Signed             `json:"part"`
}

func (d *groupDocument) at() time.Time { return d.Time }

// SignGroupPart signs a member's part, as its agent.
func SignGroupPart(s Signer, p GroupPart) ([]byte, error) {
	p.Version = Version
	if err := p.check(); err != nil {
		return nil, err
	}
	signed, err := sign(s, groupPartDomain, p)
	if err != nil {
		return nil, err
	}
	return json.Marshal(signed)
}

func (p GroupPart) check() error {
	hash, err := hex.DecodeString(p.Hash)
	switch {
	case err != nil || len(hash) != len(segment.Hash{}) || hex.EncodeToString(hash) != p.Hash:
		return fmt.Errorf("the part of machine %s has hash %q", p.Machine, p.Hash)
	case p.Version != Version || p.Method != ByFreeze || p.Round == 0:
		return fmt.Errorf("the part of machine %s has version %d, method %q, round %d", p.Machine, p.Version, p.Method, p.Round)
	case p.Place().IsZero() || p.Place().String() != p.Position:
		return fmt.Errorf("the part of machine %s stands at %q", p.Machine, p.Position)
	case p.Consistency != farshore.CrashConsistent && p.Consistency != farshore.AppConsistent:
		return fmt.Errorf("the part of machine %s is %q consistent", p.Machine, p.Consistency)
	}
	return nil
}

// readPart believes a part that the machine's own agent has signed.
func readPart(roots *credential.Roots, machine farshore.MachineID, s Signed) (GroupPart, error) {
	var p GroupPart
	if err := decodeStrict(s.Payload, &p); err != nil {
		return p, err
	}
	by, err := roots.Verify(p.Time, groupPartDomain, s.Payload, s.Signature)
	if err != nil {
		return p, fmt.Errorf("the part of machine %s: %w", machine, err)
	}
	if own := (farshore.Identity{Role: farshore.RoleAgent, Name: string(machine)}); by != own || p.Machine != machine {
		return p, fmt.Errorf("the part of machine %s is one of machine %s, and %s signed it", machine, p.Machine, by)
	}
	return p, p.check()
}

// SignGroupPoint makes a point of the parts that members have signed, as the agent of the one that led. It does not judge the
// parts: whoever stores or reads the point does.
func SignGroupPoint(s Signer, group farshore.GroupID, round farshore.Round, parts map[farshore.MachineID][]byte, missing []Missing, now time.Time) ([]byte, error) {
	d := groupDocument{Version: Version, Group: group, Round: round, Time: now.UTC(), Missing: slices.Clone(missing)}
	for i := range d.Missing {
		d.Missing[i].Why = shorten(d.Missing[i].Why)
	}
	for machine, part := range parts {
		m := groupMember{Machine: machine}
		if len(part) > MaxPartBytes {
			return nil, fmt.Errorf("the part of machine %s has %d bytes, at most %d", machine, len(part), MaxPartBytes)
		}
		if err := decodeStrict(part, &m.Part); err != nil {
			return nil, fmt.Errorf("the part of machine %s: %w", machine, err)
		}
		d.Members = append(d.Members, m)
	}
	slices.SortFunc(d.Members, func(a, b groupMember) int { return cmp.Compare(a.Machine, b.Machine) })
	slices.SortFunc(d.Missing, func(a, b Missing) int { return cmp.Compare(a.Machine, b.Machine) })
	return store(s, groupPointDomain, d)
}

// shorten cuts words to what a point may say of a missing machine.
func shorten(why string) string {
	for i := range why {
		if i > maxMissingBytes-4 { // the place before this letter
			return why[:i]
		}
	}
	return why
}

// ReadGroupPoint believes a stored point, and each of its parts. It does not look at the segments that it names.
func ReadGroupPoint(roots *credential.Roots, name string, stored []byte) (GroupPoint, error) {
	g, err := readGroupPoint(roots, name, stored)
	if err != nil {
		return GroupPoint{}, &fault.Fault{
			Code: "FS-3550", Kind: fault.Corrupt, Subject: name, What: "the point of the group is not believed",
			Remedy: "choose another point of the group; find out who writes to the vault besides Farshore", Err: err,
		}
	}
	return g, nil
}

func readGroupPoint(roots *credential.Roots, name string, stored []byte) (GroupPoint, error) {
	group, round, err := chain.ParseGroupPointName(name)
	if err != nil {
		return GroupPoint{}, err
	}
	if len(stored) > MaxGroupBytes {
		return GroupPoint{}, fmt.Errorf("it has %d bytes, at most %d", len(stored), MaxGroupBytes)
	}
	var d groupDocument
	by, err := believe(roots, stored, groupPointDomain, &d, farshore.RoleAgent)
	if err != nil {
		return GroupPoint{}, err
	}
	if d.Version != Version || d.Group != group || d.Round != round {
		return GroupPoint{}, fmt.Errorf("version %d, made for round %d of group %s", d.Version, d.Round, d.Group)
	}
	g := GroupPoint{Group: group, Round: round, Missing: d.Missing, Time: d.Time, By: by}
	for _, m := range d.Members {
		p, err := readPart(roots, m.Machine, m.Part)
		if err == nil && (p.Group != group || p.Round != round || string(p.Leader) != by.Name) {
			err = fmt.Errorf("the part of machine %s is for round %d of group %s, led by machine %s", m.Machine, p.Round, p.Group, p.Leader)
		}
		if err != nil {
			return GroupPoint{}, err
		}
		g.Parts = append(g.Parts, p)
	}
	return g, g.check()
}

// check judges who is in the point and who is not.
func (g GroupPoint) check() error {
	if len(g.Parts) < MinGroupMembers || len(g.Parts) > MaxGroupMembers || len(g.Missing) > MaxGroupMembers {
		return fmt.Errorf("it has %d members, and %d are missing", len(g.Parts), len(g.Missing))
	}
	led := false
	for i, p := range g.Parts {
		led = led || string(p.Machine) == g.By.Name
		if i > 0 && g.Parts[i-1].Machine >= p.Machine {
			return errors.New("its members are not in order")
		}
	}
	if !led {
		return fmt.Errorf("%s is none of its members", g.By)
	}
	for i, m := range g.Missing {
		_, err := farshore.ParseMachineID(string(m.Machine))
		switch {
		case err != nil:
			return err
		case i > 0 && g.Missing[i-1].Machine >= m.Machine:
			return errors.New("what is missing is not in order")
		case len(m.Why) > maxMissingBytes:
			return fmt.Errorf("it says why machine %s is missing in %d bytes", m.Machine, len(m.Why))
		case slices.ContainsFunc(g.Parts, func(p GroupPart) bool { return p.Machine == m.Machine }):
			return fmt.Errorf("machine %s is a member, and missing", m.Machine)
		}
	}
	return nil
}
