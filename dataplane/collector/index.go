package collector

import (
	"context"
	"errors"

	"farshore"
	"farshore/dataplane/chain"
	"farshore/dataplane/journal"
	"farshore/dataplane/retention"
)

// index stores the headers of what came since the last pass, so that neither the next pass nor anybody else reads them one by
// one. Without it everything only takes longer: that it could not be stored is told, and the pass goes on.
func (c *Collector) index(ctx context.Context, m farshore.MachineID, g farshore.Generation, report *Report) error {
	n, err := journal.PutIndex(ctx, c.deps.Journal, m, g)
	report.Indexed += n
	if err != nil && ctx.Err() == nil {
		c.deps.Log.Warn("headers could not be indexed; they are read one by one", "machine", m, "generation", g, "err", err)
		return nil
	}
	return errors.Join(err, ctx.Err())
}

// removeIndexes removes the indexes that lie before the horizon of a cut: those behind which another begins there.
func (c *Collector) removeIndexes(ctx context.Context, m farshore.MachineID, cut retention.Cut, report *Report) error {
	var doomed []string
	before := ""
	for e, err := range c.deps.Journal.Store.List(ctx, chain.IndexPrefix(m, cut.Generation), "") {
		if err != nil {
			return err
		}
		_, first, err := chain.ParseIndexName(e.Name)
		if err != nil || first.Compare(cut.Horizon) > 0 {
			break //nolint:nilerr // a name of nobody's is left to verify
		}
		if before != "" {
			doomed = append(doomed, before)
		}
		before = e.Name
	}
	for _, name := range doomed {
		if err := c.remove(ctx, name, report); err != nil {
			return err
		}
	}
	return nil
}
