package processserver

import (
	"context"
	"errors"
	"fmt"

	"farshore/dataplane/hashes"
	"farshore/dataplane/session"
	"farshore/dataplane/vault"
	"farshore/fault"
)

// fetch looks for a piece of what was offered for the stream's epoch, and gives it to the agent. The server cannot read what
// it carries, and needs not: the agent judges. Whatever goes wrong is told as "not there": the agent asks again, and copies
// in full if that does not help.
func (st *stream) fetch(ctx context.Context, w session.Want) {
	at := st.writer.Durable() // of the epoch that was claimed, or the seal in front of it
	g, e := at.Stream.Generation, st.writer.Epoch()
	name := hashes.PartName(st.machine.id, g, e, w.Disk, w.Number)
	if w.Disk == "" {
		name = hashes.HeadName(st.machine.id, g, e, w.Number)
	}
	object, err := st.server.journal.Store.Get(ctx, name)
	if err == nil && len(object) > session.MaxOfferBytes {
		object, err = nil, fmt.Errorf("it has %d bytes, at most %d", len(object), session.MaxOfferBytes)
	}
	if err != nil && !errors.Is(err, vault.ErrNotFound) && ctx.Err() == nil {
		f := &fault.Fault{
			Code: "FS-2012", Kind: fault.Transient, Subject: "machine " + string(st.machine.id), What: "hashes that were offered for its resync cannot be fetched",
			Remedy: "nothing if it passes: the agent asks again, and copies in full what it gets no hashes of", Err: err,
		}
		st.log.Warn("no hashes for an agent", "machine", st.machine.id, "name", name, "err", f)
	}
	st.step(ctx, session.Fetched{Offer: session.Offer{Want: w, Object: object}})
}
