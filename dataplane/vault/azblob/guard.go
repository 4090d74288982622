package azblob

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"

	"farshore/dataplane/vault"
)

// What to do about what is off, or not known.
const (
	turnSoftDeleteOn = "whoever may delete can delete for good: az storage account blob-service-properties update --account-name NAME --enable-delete-retention true --delete-retention-days 14"
	lookAtSoftDelete = "look yourself: az storage account blob-service-properties show --account-name NAME"
	lookAtContainers = "look yourself (containerDeleteRetentionPolicy): az storage account blob-service-properties show --account-name NAME"
	lookAtImmutable  = "look yourself: az storage container immutability-policy show --account-name NAME --container-name %s"
)

// Guards asks the account for its soft delete, and the containers that only grow for their immutability.
func (s *store) Guards(ctx context.Context) []vault.Guard {
	guards := []vault.Guard{s.softDelete(ctx), {
		Name: "soft delete of containers", State: vault.GuardUnknown, Detail: "only Azure Resource Manager tells it, and the vault's credential does not ask there", Advice: lookAtContainers,
	}}
	for _, c := range []vault.Container{vault.Journal, vault.Points} {
		guards = append(guards, s.immutability(ctx, c))
	}
	return guards
}

func (s *store) softDelete(ctx context.Context) vault.Guard {
	g := vault.Guard{Name: "soft delete of blobs", State: vault.GuardUnknown, Advice: lookAtSoftDelete}
	r, err := s.service.GetProperties(timed(ctx, 0), nil)
	switch policy := r.DeleteRetentionPolicy; {
	case err != nil:
		g.Detail = unanswered(err)
	case policy == nil || policy.Enabled == nil:
		g.Detail = "the service says nothing of it"
	case *policy.Enabled:
		g.State, g.Advice = vault.GuardOn, "what the collector removes is charged until its days are over"
		if policy.Days != nil {
			g.Detail = fmt.Sprintf("%d days", *policy.Days)
		}
	default:
		g.State, g.Advice = vault.GuardOff, turnSoftDeleteOn
	}
	return g
}

func (s *store) immutability(ctx context.Context, c vault.Container) vault.Guard {
	g := vault.Guard{Name: "immutability of container " + string(c), State: vault.GuardUnknown, Advice: fmt.Sprintf(lookAtImmutable, c)}
	r, err := s.containers[c].GetProperties(timed(ctx, 0), nil)
	is := func(b *bool) bool { return b != nil && *b }
	switch {
	case err != nil:
		g.Detail = unanswered(err)
	case is(r.HasLegalHold):
		g.State, g.Detail = vault.GuardOn, "a legal hold"
		g.Advice = "nothing of it is removed before the hold is taken away: the vault grows"
	case is(r.HasImmutabilityPolicy):
		g.State, g.Detail = vault.GuardOn, "a policy; its period is not told here"
		g.Advice = "its period should be no longer than the retention: what it keeps is counted by the collector and removed later"
	case is(r.IsImmutableStorageWithVersioningEnabled):
		g.Detail = "version-level immutability is enabled; whether a policy stands is not told here"
	case r.HasImmutabilityPolicy == nil:
		g.Detail = "the service says nothing of it"
	default:
		g.State, g.Advice = vault.GuardOff, "whoever may delete can delete what is younger than the retention: give the container a time-based policy (docs/operate/retention.md)"
	}
	return g
}

// unanswered says in a few words why there is no answer.
func unanswered(err error) string {
	var answer *azcore.ResponseError
	switch {
	case !errors.As(err, &answer):
		return "the account does not answer"
	case answer.StatusCode == http.StatusForbidden:
		return "the vault's credential may not ask (403 " + answer.ErrorCode + ")"
	}
	return fmt.Sprintf("the account answers %d %s", answer.StatusCode, answer.ErrorCode)
}

var _ vault.Guarded = (*store)(nil)
