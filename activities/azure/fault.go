package azure

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"

	"farshore/activities"
	"farshore/fault"
)

// verdict is what an ARM error code means for a person.
type verdict struct {
	code   string
	kind   fault.Kind
	what   string
	remedy string
}

var (
	busy = verdict{"FS-5001", fault.Transient, "Azure did not carry the request out", "nothing: it is tried again"}
	// unknown refusals stop: asking the same again changes nothing.
	unknown = verdict{"FS-5003", fault.Operator, "Azure refused the request", "mend what the message names, then repeat the operation"}
)

// verdicts maps error codes. Statuses are not used: a late failure comes with status 200.
var verdicts = map[string]verdict{
	"TooManyRequests":            busy,
	"ServerBusy":                 busy,
	"InternalServerError":        busy,
	"ServiceUnavailable":         busy,
	"OperationNotFound":          busy,
	"AnotherOperationInProgress": busy,
	"RetryableError":             busy,
	"Conflict":                   busy,
	"ResourceInUse":              busy, // something of this run is still being removed

	"AuthenticationFailed":      {"FS-5002", fault.Operator, "Azure does not accept the identity", "renew the credential of the configuration server"},
	"AuthorizationFailed":       {"FS-5002", fault.Operator, "the identity lacks a permission", "assign the role of docs/operate/azure.md to the configuration server's identity"},
	"LinkedAuthorizationFailed": {"FS-5002", fault.Operator, "the identity lacks a permission on a linked resource", "assign the role of docs/operate/azure.md on the network too"},

	"OperationNotAllowed":   {"FS-5101", fault.Operator, "a quota or a state of the subscription forbids it", "raise the quota named in the message or choose another size"},
	"QuotaExceeded":         {"FS-5101", fault.Operator, "a quota of the subscription is used up", "raise the quota or choose another size"},
	"SkuNotAvailable":       {"FS-5102", fault.Operator, "the VM size cannot be had in this location", "choose another size: farshore machine enable … --vm-size"},
	"AllocationFailed":      {"FS-5102", fault.Operator, "Azure has no capacity for this size now", "choose another size or location, then repeat the operation"},
	"ZonalAllocationFailed": {"FS-5102", fault.Operator, "Azure has no capacity for this size in the zone now", "choose another size or zone, then repeat the operation"},

	"PrivateIPAddressInUse":       {"FS-5103", fault.Operator, "the address is in use", "free the address or choose another in the machine's target"},
	"PrivateIPAddressNotInSubnet": {"FS-5103", fault.Operator, "the address is not in the subnet", "choose an address of the subnet in the machine's target"},
	"SubnetIsFull":                {"FS-5103", fault.Operator, "the subnet has no free address", "choose a larger subnet"},

	"ResourceGroupNotFound":    {"FS-5104", fault.Operator, "the resource group does not exist", "create it, or correct the machine's target"},
	"ResourceNotFound":         {"FS-5104", fault.Operator, "a resource that is needed does not exist", "create it, or correct the machine's target"},
	"NotFound":                 {"FS-5104", fault.Operator, "a resource that is needed does not exist", "create it, or correct the machine's target"},
	"InvalidResourceReference": {"FS-5104", fault.Operator, "a resource that is needed does not exist", "create it, or correct the machine's target"},
}

// explain makes a fault of what ARM answered while doing something to a subject.
func explain(p activities.Place, doing string, err error) error {
	if err == nil {
		return nil
	}
	if _, ok := fault.As(err); ok || errors.Is(err, context.Canceled) || errors.Is(err, activities.ErrStopping) {
		return err
	}
	v := judge(err)
	return &fault.Fault{
		Code: v.code, Kind: v.kind, Subject: fmt.Sprintf("run %s", p.Run.ID), What: doing + ": " + v.what,
		Remedy: v.remedy, Err: errors.New(firstLines(err)),
	}
}

func judge(err error) verdict {
	var refused *azcore.ResponseError
	if !errors.As(err, &refused) {
		return busy // the network: nothing was answered
	}
	if v, ok := verdicts[refused.ErrorCode]; ok {
		return v
	}
	if refused.StatusCode == http.StatusTooManyRequests || refused.StatusCode >= http.StatusInternalServerError {
		return busy
	}
	return unknown
}

// hasCode reports whether ARM refused with this code.
func hasCode(err error, codes ...string) bool {
	var refused *azcore.ResponseError
	if !errors.As(err, &refused) {
		return false
	}
	for _, code := range codes {
		if refused.ErrorCode == code {
			return true
		}
	}
	return false
}

// notFound reports whether ARM said that the thing itself is missing.
func notFound(err error) bool {
	return hasCode(err, "ResourceNotFound", "NotFound", "ResourceGroupNotFound")
}

// firstLines shortens the SDK's error, which quotes the whole response.
func firstLines(err error) string {
	var refused *azcore.ResponseError
	if !errors.As(err, &refused) {
		return err.Error()
	}
	text := refused.Error()
	if _, body, ok := strings.Cut(text, `"message":`); ok {
		message, _, _ := strings.Cut(strings.TrimLeft(body, ` "`), `"`)
		return refused.ErrorCode + ": " + message
	}
	return refused.ErrorCode
}
