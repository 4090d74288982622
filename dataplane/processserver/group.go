package processserver

import (
	"context"

	"farshore/dataplane/journal"
	"farshore/dataplane/session"
	"farshore/fault"
)

// store puts a point that the machine has made with others into the vault, for agents cannot. It is judged as every reader will
// judge it; the machine's agent has no say in other points than those that it has led to.
func (st *stream) store(ctx context.Context, point []byte) {
	deps := st.server.journal
	deps.Store = st.server.paced(st.machine.id)
	why := ""
	if err := journal.PutGroupPoint(ctx, deps, st.machine.id, point); err != nil && ctx.Err() == nil {
		f := &fault.Fault{
			Code: "FS-2014", Kind: fault.Transient, Subject: "machine " + string(st.machine.id), What: "a point of its group could not be put into the vault",
			Remedy: "nothing if it passes: the group makes another one", Err: err,
		}
		if deep, ok := fault.As(err); ok {
			f.Kind = deep.Kind
		}
		st.log.Warn("a group's point was not kept", "machine", st.machine.id, "err", f)
		why = err.Error()
	}
	st.step(ctx, session.Stored{Why: why})
}
