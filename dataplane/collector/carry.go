package collector

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"farshore"
	"farshore/dataplane/chain"
	"farshore/dataplane/journal"
	"farshore/dataplane/retention"
	"farshore/dataplane/segment"
	"farshore/dataplane/vault"
)

// carryOutDue carries out the newest cut of a generation whose grace is over. Those before it are contained in it.
func (c *Collector) carryOutDue(ctx context.Context, m farshore.MachineID, g farshore.Generation, report *Report) error {
	cuts, err := c.reader().Cuts(ctx, m, g)
	if err != nil {
		return err
	}
	due := -1
	for i, cut := range cuts {
		if report.Time.Sub(cut.Time) >= c.deps.Grace {
			due = i
		}
	}
	if due < 0 {
		return nil
	}
	cut, err := c.sparePins(ctx, m, cuts[due].Cut)
	if err != nil {
		return err
	}
	if cut.Whole {
		if err := journal.Bury(ctx, c.deps.Journal, m, g); err != nil {
			return err
		}
		return c.removeGeneration(ctx, m, g, report)
	}
	if err := c.removeSegments(ctx, m, cut, report); err != nil {
		return err
	}
	if err := c.removeIndexes(ctx, m, cut, report); err != nil {
		return err
	}
	if err := c.removeBases(ctx, m, cut, report); err != nil {
		return err
	}
	for _, old := range cuts[:due] {
		if err := c.remove(ctx, chain.CutName(m, g, old.Number), report); err != nil {
			return err
		}
	}
	return nil
}

// sparePins reads the pins, now that every one which was looked at before the cut was published has been written, and leaves
// out of the cut what their points need: the newest base at or before each, and everything behind it.
func (c *Collector) sparePins(ctx context.Context, m farshore.MachineID, cut retention.Cut) (retention.Cut, error) {
	pins, err := c.reader().Pins(ctx, m)
	if err != nil {
		return cut, err
	}
	bases, err := c.reader().Manifests(ctx, m, cut.Generation)
	if err != nil {
		return cut, err
	}
	for _, pin := range pins {
		need := retention.Need{Base: farshore.Position{Generation: cut.Generation}, Point: pin.Place()}
		if need.Point.Generation != cut.Generation {
			continue
		}
		for _, b := range slices.Backward(bases) {
			if b.Compare(need.Point) > 0 {
				continue
			}
			there, err := c.exists(ctx, chain.BaseName(m, b))
			if err != nil {
				return cut, err
			}
			if there {
				need.Base = b
				break
			}
		}
		cut = cut.Sparing(need)
	}
	return cut, nil
}

func (c *Collector) exists(ctx context.Context, name string) (bool, error) {
	_, err := c.deps.Journal.Store.GetRange(ctx, name, 0, 1)
	if errors.Is(err, vault.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// removeSegments removes the segments that a cut lets go, oldest first.
func (c *Collector) removeSegments(ctx context.Context, m farshore.MachineID, cut retention.Cut, report *Report) error {
	var doomed []vault.Entry
	last := chain.NameOf(m, cut.Horizon)
	for e, err := range c.deps.Journal.Store.List(ctx, chain.JournalPrefix(m, cut.Generation), "") {
		if err != nil {
			return err
		}
		if e.Name > last {
			break
		}
		if _, p, err := chain.ParseSegmentName(e.Name); err == nil && cut.Segment(p) {
			doomed = append(doomed, e)
		}
	}
	for _, e := range doomed {
		if err := c.removeSegment(ctx, e, report); err != nil {
			return err
		}
	}
	return nil
}

// sealBytes is the most that a seal can have: a header and a trailer. What is larger need not be looked at.
const sealBytes = segment.MaxHeaderBytes + 64

// removeSegment removes a segment, unless it is a seal. One that cannot be read might be: it stays.
func (c *Collector) removeSegment(ctx context.Context, e vault.Entry, report *Report) error {
	if e.Size <= sealBytes {
		if c.seals[e.Name] {
			return nil
		}
		prefix, err := c.deps.Journal.Store.GetRange(ctx, e.Name, 0, segment.MaxHeaderBytes)
		if errors.Is(err, vault.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		if h, err := segment.ParseHeader(prefix); err != nil || h.Seal {
			c.seals[e.Name] = true
			return nil //nolint:nilerr // see above
		}
	}
	immutable := report.Immutable
	if err := c.remove(ctx, e.Name, report); err != nil {
		return err
	}
	if report.Immutable == immutable {
		report.Removed++
		report.RemovedBytes += e.Size
	}
	return nil
}

// remove deletes an object. That the storage's policy keeps it is counted; it is tried again in the next pass.
func (c *Collector) remove(ctx context.Context, name string, report *Report) error {
	err := c.deps.Journal.Store.Delete(ctx, name)
	if errors.Is(err, vault.ErrImmutable) {
		report.Immutable++
		return nil
	}
	return err
}

// removeBases removes the bases that a cut lets go: first what says that they are bases and checkpoints, so that nobody uses
// them, then the chunk lists. The snapshots, which nothing names any more, go when the applier sweeps.
func (c *Collector) removeBases(ctx context.Context, m farshore.MachineID, cut retention.Cut, report *Report) error {
	bases, err := c.reader().Manifests(ctx, m, cut.Generation)
	if err != nil {
		return err
	}
	for _, b := range bases {
		if !cut.Base(b) {
			continue
		}
		there, err := c.exists(ctx, chain.BaseName(m, b))
		if err != nil {
			return err
		}
		if !there { // it is gone; its manifest stays, for the chain
			continue
		}
		if err := c.removeBase(ctx, m, b, report); err != nil {
			return err
		}
	}
	return nil
}

func (c *Collector) removeBase(ctx context.Context, m farshore.MachineID, b farshore.Position, report *Report) error {
	prefix := strings.TrimSuffix(chain.ChunksName(m, b, "x"), "x.fsc")
	var names []string
	for e, err := range c.deps.Journal.Store.List(ctx, prefix, "") {
		if err != nil {
			return err
		}
		names = append(names, e.Name)
	}
	immutable := report.Immutable
	for _, name := range append([]string{chain.CheckpointName(m, b)}, names...) {
		if err := c.remove(ctx, name, report); err != nil {
			return err
		}
	}
	if report.Immutable > immutable { // with its mark the base is looked at again
		return nil
	}
	report.RemovedBases++
	return c.remove(ctx, chain.BaseName(m, b), report)
}

// finishGone removes what is left of generations that have a tombstone.
func (c *Collector) finishGone(ctx context.Context, m farshore.MachineID, report *Report) error {
	gone, err := c.reader().Gone(ctx, m)
	if err != nil {
		return err
	}
	for _, g := range gone {
		if err := c.removeGeneration(ctx, m, g, report); err != nil {
			return err
		}
	}
	return nil
}

// removeGeneration removes everything of a generation with a tombstone but its seals; the claims, and the keys in them, last.
func (c *Collector) removeGeneration(ctx context.Context, m farshore.MachineID, g farshore.Generation, report *Report) error {
	var segments []vault.Entry
	for e, err := range c.deps.Journal.Store.List(ctx, chain.JournalPrefix(m, g), "") {
		if err != nil {
			return err
		}
		segments = append(segments, e)
	}
	for _, e := range segments {
		if err := c.removeSegment(ctx, e, report); err != nil {
			return err
		}
	}
	if err := c.removeReplica(ctx, m, g, report); err != nil {
		return err
	}
	var names []string
	for e, err := range c.deps.Journal.Store.List(ctx, chain.ClaimPrefix(m, g), "") {
		if err != nil {
			return err
		}
		names = append(names, e.Name)
	}
	claim := func(name string) bool { _, _, _, err := chain.ParseClaimName(name); return err == nil }
	slices.SortStableFunc(names, func(a, b string) int {
		switch {
		case claim(a) == claim(b):
			return 0
		case claim(b):
			return -1
		}
		return 1
	})
	for _, name := range names {
		if err := c.remove(ctx, name, report); err != nil {
			return err
		}
	}
	return nil
}

func (c *Collector) removeReplica(ctx context.Context, m farshore.MachineID, g farshore.Generation, report *Report) error {
	prefix := chain.ReplicaPrefix(m, g)
	var disks, objects []string
	for e, err := range c.deps.Replicas.List(ctx, prefix) {
		if err != nil {
			return err
		}
		disks = append(disks, e.Name)
	}
	for e, err := range c.deps.Journal.Store.List(ctx, prefix, "") {
		if err != nil {
			return err
		}
		if !strings.HasSuffix(e.Name, ".vhd") {
			objects = append(objects, e.Name)
		}
	}
	for _, name := range objects {
		if err := c.remove(ctx, name, report); err != nil {
			return err
		}
	}
	for _, name := range disks {
		if err := c.deps.Replicas.Remove(ctx, name); err != nil {
			return fmt.Errorf("remove replica disk %s: %w", name, err)
		}
	}
	return nil
}
