package nodes

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/bbolt"

	"farshore"
	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/control/audit"
	"farshore/fault"
)

// machineTokenLifetime is for a VM that uses its token minutes after it was ordered.
const machineTokenLifetime = time.Hour

// JoinToken is CreateToken for a temporary process server that this server makes, also in the place of a node of the name, with
// the pin of the CA. The process server is reserved before it can enrol: it has no machines but those that become its guests.
func (r *Registry) JoinToken(ctx context.Context, id farshore.Identity) (token, pin string, err error) {
	err = r.SetDesired(ctx, id, func(d *farshorev1.SyncResponse) {
		server := d.GetProcessServer()
		if server == nil {
			server = &farshorev1.ProcessServerDesired{}
		}
		server.Reserved = true
		d.Desired = &farshorev1.SyncResponse_ProcessServer{ProcessServer: server}
	})
	if err != nil {
		return "", "", err
	}
	entry := audit.Entry{Who: "this host", From: "azure.EnsureProcessServer", Call: "CreateJoinToken", Request: fmt.Appendf(nil, "{\"for\":%q}", id)}
	if err := r.audit.Append(entry); err != nil {
		return "", "", err
	}
	made, _, err := r.CreateToken(TokenRequest{For: id, Lifetime: machineTokenLifetime, Replace: true})
	if err != nil {
		return "", "", err
	}
	return made.Text(), r.authority.Pin().String(), nil
}

// Heard gives the address at which a process server is dialled, as it last reported, and when.
func (r *Registry) Heard(id farshore.Identity) (address string, at time.Time, ok bool) {
	report, at, ok := r.Observed(id)
	return report.GetProcessServer().GetAddress(), at, ok && report.GetProcessServer().GetAddress() != ""
}

// Retire is Remove for a node whose VM this server removes. It may never have enrolled, and cannot any more: nothing is desired
// of its name then, and none of its tokens is good.
func (r *Registry) Retire(id farshore.Identity) error {
	entry := audit.Entry{Who: "this host", From: "azure.DeleteRun", Call: "RemoveNode", Request: fmt.Appendf(nil, "{\"node\":%q}", id)}
	if err := r.audit.Append(entry); err != nil {
		return err
	}
	err := r.db.Update(func(tx *bbolt.Tx) error {
		return errors.Join(
			forgetTokens(tx, func(t tokenRecord) bool { return t.For == id }),
			tx.Bucket(desiredBucket).Delete([]byte(id.String())),
		)
	})
	if err != nil {
		return fmt.Errorf("retire %s: %w", id, err)
	}
	err = r.Remove(id)
	if f, ok := fault.As(err); ok && f.Code == unknownNode {
		return nil
	}
	return err
}

// unknownNode is the code of [NoSuchNode].
const unknownNode = "FS-6017"
