package journal

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"farshore"
	"farshore/dataplane/chain"
	"farshore/dataplane/segment"
	"farshore/dataplane/vault"
	"farshore/fault"
)

// PutGroupPoint stores a point that the agent of a machine has made with others, under its name. It is judged as a reader
// would. One that is there already stays.
func PutGroupPoint(ctx context.Context, d Deps, leader farshore.MachineID, stored []byte) error {
	signed, err := decodeSigned(stored)
	var doc groupDocument
	if err == nil {
		err = decodeStrict(signed.Payload, &doc)
	}
	if err != nil {
		return fmt.Errorf("point of a group: %w", err)
	}
	name := chain.GroupPointName(doc.Group, doc.Round)
	g, err := ReadGroupPoint(d.Roots, name, stored)
	if err != nil {
		return err
	}
	if g.By.Name != string(leader) {
		return fmt.Errorf("point of a group: %s made it, machine %s gives it", g.By, leader)
	}
	outcome, err := put(ctx, d.Store, name, stored)
	if err == nil && outcome == vault.Other {
		err = errors.New("another stands there")
	}
	if err != nil {
		return fmt.Errorf("put %s: %w", name, err)
	}
	return nil
}

// Groups lists the groups that have points.
func (r Reader) Groups(ctx context.Context) ([]farshore.GroupID, error) {
	entries, err := list(ctx, r.Store, chain.GroupsRoot)
	if err != nil {
		return nil, fmt.Errorf("list the groups: %w", err)
	}
	var found []farshore.GroupID
	for _, e := range entries {
		g, _, err := chain.ParseGroupPointName(e.Name)
		if err == nil && (len(found) == 0 || found[len(found)-1] != g) {
			found = append(found, g)
		}
	}
	return found, nil
}

// OfferedGroupPoint is a point of a group and whether all of it can be restored.
type OfferedGroupPoint struct {
	GroupPoint
	Points []farshore.RecoveryPoint `json:"points"`         // of the members, in the order of the parts, as their streams have them
	Lost   string                   `json:"lost,omitempty"` // why it is not offered any more; empty: it is
}

// GroupPoints gives the points of a group, oldest first, each judged by what is left of its members' streams. One that is not
// believed is told to Damage, and left out.
func (r Reader) GroupPoints(ctx context.Context, g farshore.GroupID) ([]OfferedGroupPoint, error) {
	entries, err := list(ctx, r.Store, chain.GroupPrefix(g))
	if err != nil {
		return nil, fmt.Errorf("list the points of group %s: %w", g, err)
	}
	left := map[farshore.MachineID]map[farshore.Position]farshore.RecoveryPoint{}
	var found []OfferedGroupPoint
	for _, e := range entries {
		body, there, err := get(ctx, r.Store, e.Name)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", e.Name, err)
		}
		if !there {
			continue
		}
		point, err := ReadGroupPoint(r.Roots, e.Name, body)
		if err != nil {
			if err := r.tell(err); err != nil {
				return nil, err
			}
			continue
		}
		offered := OfferedGroupPoint{GroupPoint: point}
		if err := r.offer(ctx, &offered, left); err != nil {
			return nil, err
		}
		found = append(found, offered)
	}
	return found, nil
}

// offer says which recovery points of its members a point is made of, as far as they can be restored. left remembers streams.
func (r Reader) offer(ctx context.Context, g *OfferedGroupPoint, left map[farshore.MachineID]map[farshore.Position]farshore.RecoveryPoint) error {
	for _, part := range g.Parts {
		points, known := left[part.Machine]
		if !known {
			all, err := r.Points(ctx, part.Machine)
			if f, ok := fault.As(err); ok && f.Code == noStream {
				err = nil
			}
			if err != nil {
				return err
			}
			points = map[farshore.Position]farshore.RecoveryPoint{}
			for _, p := range all {
				points[p.Position] = p
			}
			left[part.Machine] = points
		}
		p, ok := points[part.Place()]
		if !ok {
			g.Lost = strings.TrimPrefix(fmt.Sprintf("%s; %s of machine %s is gone", g.Lost, part.Position, part.Machine), "; ")
			continue
		}
		g.Points = append(g.Points, p)
	}
	return nil
}

// noStream is the code of a machine that the vault has nothing of.
const noStream = "FS-3512"

// CheckPart makes sure that a member's point is the one that its part names: a clean segment with that hash, or a manifest that
// stands for it (FS-3551).
func (r Reader) CheckPart(ctx context.Context, p GroupPart) error {
	name := chain.NameOf(p.Machine, p.Place())
	body, found, err := get(ctx, r.Store, name)
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	hash, clean := "", false
	if found {
		s, err := segment.Parse(body)
		if err == nil {
			hash, clean = s.Hash().String(), s.Header().Clean() && !s.Header().Seal
		}
	} else {
		doc, err := r.Manifest(ctx, p.Machine, p.Place())
		if err != nil {
			return err
		}
		hash, clean = doc.At.Hash.String(), true
	}
	if hash == p.Hash && clean {
		return nil
	}
	return &fault.Fault{
		Code: "FS-3551", Kind: fault.Corrupt, Subject: fmt.Sprintf("machine %s, point %s", p.Machine, p.Position),
		What:   fmt.Sprintf("it is not the one that the group's point names: hash %s, clean %v", hash, clean),
		Remedy: "choose another point of the group; see what is damaged: farshore-restore verify " + string(p.Machine),
	}
}
