package azblob

import (
	"context"
	"errors"
	"net/http"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/bloberror"

	"farshore/fault"
)

// trouble turns an error of the SDK into a fault that says what to do; if the caller's context is over it gives the
// context's error.
func (a *account) trouble(ctx context.Context, doing string, err error) error {
	if ctx.Err() != nil {
		return errors.Join(ctx.Err(), err)
	}
	f := &fault.Fault{Code: "FS-3001", Kind: fault.Transient, Subject: "vault " + a.where, What: doing, Remedy: "check the network between here and the storage account", Err: err}
	var answer *azcore.ResponseError
	var login *azidentity.AuthenticationFailedError
	switch {
	case errors.As(err, &login):
		f.Code, f.Kind = "FS-3002", fault.Operator
		f.What += ": Microsoft Entra ID refuses the credential"
		f.Remedy = "check tenant, client id and certificate, or that the managed identity is assigned"
	case !errors.As(err, &answer):
	case answer.StatusCode == http.StatusForbidden || answer.StatusCode == http.StatusUnauthorized:
		f.Code, f.Kind = "FS-3002", fault.Operator
		f.What += ": access is refused (" + answer.ErrorCode + ")"
		f.Remedy = "give the identity the role its service needs on the storage account, and look at the account's firewall"
	case bloberror.HasCode(err, bloberror.ServerBusy, bloberror.OperationTimedOut) || answer.StatusCode == http.StatusServiceUnavailable || answer.StatusCode == http.StatusTooManyRequests:
		f.Code = "FS-3003"
		f.What += ": the storage account is at its limits"
		f.Remedy = "none if it passes; else spread machines over more storage accounts"
	case answer.StatusCode < http.StatusInternalServerError && answer.StatusCode != http.StatusRequestTimeout:
		f.Kind = fault.Operator
		f.What += ": the request is refused (" + answer.ErrorCode + ")"
		f.Remedy = "look at the storage account: its kind, its policies, its state"
	}
	return f
}

// status gives the HTTP status of an answer, 0 if there was none.
func status(err error) int {
	var answer *azcore.ResponseError
	if errors.As(err, &answer) {
		return answer.StatusCode
	}
	return 0
}
