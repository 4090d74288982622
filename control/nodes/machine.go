package nodes

import (
	"context"
	"fmt"
	"time"

	"farshore"
	"farshore/control/audit"
	"farshore/fault"
)

// machineTokenLifetime is for a VM that uses its token minutes after it was ordered.
const machineTokenLifetime = time.Hour

// JoinToken is CreateToken for a VM that this server makes, also in the place of a node of the name, with the pin of the CA.
func (r *Registry) JoinToken(_ context.Context, id farshore.Identity) (token, pin string, err error) {
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

// Retire is Remove for a node whose VM this server removes. It may be unknown.
func (r *Registry) Retire(id farshore.Identity) error {
	entry := audit.Entry{Who: "this host", From: "azure.DeleteRun", Call: "RemoveNode", Request: fmt.Appendf(nil, "{\"node\":%q}", id)}
	if err := r.audit.Append(entry); err != nil {
		return err
	}
	err := r.Remove(id)
	if f, ok := fault.As(err); ok && f.Code == unknownNode {
		return nil
	}
	return err
}

// unknownNode is the code of [NoSuchNode].
const unknownNode = "FS-6017"
