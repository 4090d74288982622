package operator

import (
	"context"
	"strings"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"farshore"
	"farshore/api/gen/farshore/v1/farshorev1connect"
	"farshore/control/audit"
	"farshore/control/nodes"
	"farshore/control/peer"
	"farshore/fault"
)

// changing are the calls that change something.
var changing = map[string]bool{
	farshorev1connect.OperatorServiceCreateJoinTokenProcedure:     true,
	farshorev1connect.OperatorServiceRemoveNodeProcedure:          true,
	farshorev1connect.OperatorServiceStartProcedure:               true,
	farshorev1connect.OperatorServiceChangeProcessServerProcedure: true,
	farshorev1connect.OperatorServiceSetGroupProcedure:            true,
	farshorev1connect.OperatorServiceRemoveGroupProcedure:         true,
	farshorev1connect.OperatorServiceRebuildReplicaProcedure:      true,
	farshorev1connect.OperatorServiceCancelRunProcedure:           true,
	farshorev1connect.OperatorServiceVerifyProcedure:              true,
	farshorev1connect.OperatorServicePinPointProcedure:            true,
	farshorev1connect.OperatorServiceUnpinPointProcedure:          true,
}

type callerKey struct{}

// Guard lets only operators through, notes down what they change, and makes faults of whatever the handlers return.
func Guard(registry *nodes.Registry, log *audit.Log) connect.Interceptor {
	return connect.UnaryInterceptorFunc(func(next connect.UnaryFunc) connect.UnaryFunc {
		return func(ctx context.Context, q connect.AnyRequest) (connect.AnyResponse, error) {
			id, err := admit(ctx, registry)
			if err != nil {
				return nil, nodes.Answer(err)
			}
			if changing[q.Spec().Procedure] {
				if err := note(ctx, log, id, q); err != nil {
					return nil, nodes.Answer(err)
				}
			}
			answer, err := next(context.WithValue(ctx, callerKey{}, id), q)
			if err != nil {
				return nil, nodes.Answer(err)
			}
			return answer, nil
		}
	})
}

func admit(ctx context.Context, registry *nodes.Registry) (farshore.Identity, error) {
	id, err := registry.Authenticate(ctx)
	if err != nil {
		return id, err
	}
	if id.Role != farshore.RoleOperator {
		return id, &fault.Fault{
			Code: "FS-6013", Kind: fault.Refused, Subject: id.String(), What: "the API is for operators",
			Remedy: "use the profile of an operator; make one with: farshore token create --role operator --name NAME",
		}
	}
	return id, nil
}

func note(ctx context.Context, log *audit.Log, id farshore.Identity, q connect.AnyRequest) error {
	message, ok := q.Any().(proto.Message)
	if !ok {
		return &fault.Fault{Code: "FS-6014", Kind: fault.Refused, Subject: q.Spec().Procedure, What: "its request is no message", Remedy: "see operator.proto"}
	}
	request, err := protojson.Marshal(message)
	if err != nil {
		return &fault.Fault{Code: "FS-6014", Kind: fault.Refused, Subject: q.Spec().Procedure, What: "its request cannot be written down", Remedy: "send valid UTF-8", Err: err}
	}
	call := strings.TrimPrefix(q.Spec().Procedure, "/farshore.v1.")
	return log.Append(audit.Entry{Who: id.String(), From: peer.From(ctx).Address, Call: call, Request: request})
}

// caller is the operator who calls, as Guard found out.
func caller(ctx context.Context) farshore.Identity {
	id, _ := ctx.Value(callerKey{}).(farshore.Identity)
	return id
}
