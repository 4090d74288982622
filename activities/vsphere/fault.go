package vsphere

import (
	"context"
	"errors"
	"reflect"

	vimfault "github.com/vmware/govmomi/fault"
	"github.com/vmware/govmomi/find"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"

	"farshore/activities"
	"farshore/fault"
)

// verdict is what an answer of vSphere means for a person.
type verdict struct {
	code   string
	kind   fault.Kind
	what   string
	remedy string
}

var (
	busy     = verdict{"FS-5401", fault.Transient, "vSphere did not carry the request out", "nothing: it is tried again"}
	stranger = verdict{"FS-5402", fault.Operator, "vCenter does not accept the user name and password", "correct username and password of the vCenter in the configuration server's configuration"}
	denied   = verdict{"FS-5402", fault.Operator, "the user lacks a privilege", "give the role of docs/operate/failback.md to the user, on every object that the message names"}
	licence  = verdict{"FS-5402", fault.Operator, "the licence forbids changes through the API", "use a licensed host: a free ESXi cannot be failed back to"}
	strange  = verdict{"FS-5403", fault.Operator, "vSphere refused the request", "mend what the message names, then repeat the operation"}
	missing  = verdict{"FS-5404", fault.Operator, "something that is needed does not exist, or the user may not see it", "create it, or correct the machine's home"}
	several  = verdict{"FS-5404", fault.Operator, "the name is not the name of one thing", "give the whole inventory path in the machine's home"}
	distrust = verdict{"FS-5406", fault.Operator, "the certificate of vCenter is not trusted", "compare it, then write its thumbprint or its CA into the configuration server's configuration"}
	taken    = verdict{"FS-5407", fault.Operator, "the name belongs to another VM", "choose another name in the machine's home, or rename that VM"}
	state    = verdict{"FS-5408", fault.Operator, "the VM is in a state that does not allow this", "see what the message names, mend it, then repeat the operation"}
	locked   = verdict{"FS-5409", fault.Operator, "a disk is in use by another VM", "find the VM that has the disk attached, detach it there (never delete the file), then repeat the operation"}
	full     = verdict{"FS-5411", fault.Operator, "there is too little space, memory or processor time", "free what the message names or choose another place, then repeat the operation"}
)

// judge classifies by the type of vSphere's fault, never by its text. A fault comes as the answer to a request or as the end
// of a task: the same fault means the same.
func judge(err error) verdict {
	var none *find.NotFoundError
	var many *find.MultipleFoundError
	var manyDefaults *find.DefaultMultipleFoundError
	var noDefault *find.DefaultNotFoundError
	switch {
	case errors.Is(err, errOtherCertificate), soap.IsCertificateUntrusted(err):
		return distrust
	case errors.As(err, &none), errors.As(err, &noDefault):
		return missing
	case errors.As(err, &many), errors.As(err, &manyDefaults):
		return several
	}
	var answer types.BaseMethodFault
	if _, ok := vimfault.As(err, &answer); !ok {
		return busy // the network: nothing was answered
	}
	return judgeAnswer(answer)
}

func judgeAnswer(answer types.BaseMethodFault) verdict {
	switch answer.(type) {
	case *types.InvalidLogin:
		return stranger
	case *types.RestrictedVersion, *types.LicenseRestricted:
		return licence
	case *types.NotAuthenticated: // the session was lost twice in a row
		return busy
	case types.BaseNoPermission:
		return denied
	case *types.ManagedObjectNotFound, *types.NotFound:
		return missing
	case *types.DuplicateName, *types.AlreadyExists, *types.FileAlreadyExists:
		return taken
	case *types.FileLocked:
		return locked
	case *types.NoDiskSpace, *types.FileTooLarge, types.BaseInsufficientResourcesFault:
		return full
	case *types.TaskInProgress, *types.ConcurrentAccess, *types.HostCommunication, *types.HostNotConnected, *types.HostNotReachable,
		types.BaseHostCommunication, types.BaseHostConnectFault, types.BaseResourceInUse, *types.SystemError, *types.SystemErrorFault, *types.Timedout, *types.RequestCanceled:
		return busy
	case types.BaseInvalidState:
		return state
	}
	return strange
}

// explain makes a fault of what vSphere answered while doing something for a run.
func explain(run activities.Run, doing string, err error) error {
	if err == nil {
		return nil
	}
	if _, ok := fault.As(err); ok || errors.Is(err, context.Canceled) {
		return err
	}
	return judge(err).fault(run, doing, errors.New(text(err)))
}

func (v verdict) fault(run activities.Run, doing string, err error) *fault.Fault {
	return &fault.Fault{
		Code: v.code, Kind: v.kind, Subject: "run " + string(run.ID), What: doing + ": " + v.what, Remedy: v.remedy, Err: err,
	}
}

// text is what vSphere said, with the fault's name: its own messages are often empty.
func text(err error) string {
	var answer types.BaseMethodFault
	message, ok := vimfault.As(err, &answer)
	if !ok {
		return err.Error()
	}
	name := reflect.TypeOf(answer).Elem().Name()
	for _, more := range []string{message, detail(answer)} {
		if more != "" && more != name {
			name += ": " + more
		}
	}
	return name
}

// detail names what the fault is about.
func detail(answer types.BaseMethodFault) string {
	switch f := answer.(type) {
	case *types.NoPermission:
		if f.Object != nil {
			return f.PrivilegeId + " on " + f.Object.Value
		}
		return f.PrivilegeId
	case *types.DuplicateName:
		return f.Name
	case types.BaseFileFault:
		return f.GetFileFault().File
	case *types.SystemError:
		return f.Reason
	}
	return ""
}

// is tells whether vSphere answered with a fault of a type.
func is[F types.BaseMethodFault](err error) bool {
	var f F
	_, ok := vimfault.As(err, &f)
	return ok
}
