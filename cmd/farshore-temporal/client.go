package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/contrib/envconfig"
	sdklog "go.temporal.io/sdk/log"
)

// clientOptions are the flags of every verb that talks to a cluster. What they leave open comes from TEMPORAL_ADDRESS,
// TEMPORAL_NAMESPACE, TEMPORAL_API_KEY, TEMPORAL_TLS_* or Temporal's profile file, as in every other Temporal tool.
type clientOptions struct {
	address   string
	namespace string
	output    string
}

func (o *clientOptions) addFlags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.address, "address", "", "`host:port` of the frontend (default TEMPORAL_ADDRESS or 127.0.0.1:7233)")
	cmd.Flags().StringVar(&o.namespace, "namespace", "", "namespace (default TEMPORAL_NAMESPACE or farshore)")
	addOutputFlag(cmd, &o.output)
}

// connect dials the cluster and says which namespace the client is for.
func (o *clientOptions) connect(cmd *cobra.Command) (client.Client, string, error) {
	if err := checkOutput(o.output); err != nil {
		return nil, "", usageFault(cmd, err)
	}
	options, err := envconfig.LoadClientOptions(envconfig.LoadClientOptionsRequest{IncludeRemoteCodec: true})
	if err != nil {
		return nil, "", usageFault(cmd, fmt.Errorf("read the TEMPORAL_ variables and profile: %w", err))
	}
	options.HostPort = firstOf(o.address, options.HostPort, "127.0.0.1:7233")
	options.Namespace = firstOf(o.namespace, options.Namespace, "farshore")
	c, err := dial(cmd.Context(), options)
	return c, options.Namespace, err
}

// dial connects without the SDK's log, which would mix with our own words.
func dial(ctx context.Context, options client.Options) (client.Client, error) {
	options.Logger = sdklog.NewStructuredLogger(slog.New(slog.DiscardHandler))
	c, err := client.DialContext(ctx, options)
	if err != nil {
		return nil, unreachable(options.HostPort, err)
	}
	return c, nil
}

func firstOf(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

func unreachable(address string, err error) error {
	return &fault{
		code: "FS-8009", kind: transient, subject: "Temporal at " + address, what: "it does not answer", err: err,
		remedy: "start it with: farshore-temporal server, or name another with --address or TEMPORAL_ADDRESS",
	}
}

// askFault turns what the frontend says about one workflow or query into a fault.
func askFault(subject string, err error) error {
	var missing *serviceerror.NotFound
	var namespace *serviceerror.NamespaceNotFound
	var invalid *serviceerror.InvalidArgument
	switch {
	case err == nil:
		return nil
	case errors.As(err, &namespace):
		return &fault{
			code: "FS-8012", kind: refused, subject: subject, what: "there is no namespace " + namespace.Namespace,
			remedy: "name it with --namespace or TEMPORAL_NAMESPACE",
		}
	case errors.As(err, &missing):
		return &fault{
			code: "FS-8011", kind: refused, subject: subject, what: "there is no such workflow",
			remedy: "look for it with: farshore-temporal list; the history of an ended workflow is kept for the namespace's " +
				"retention only",
		}
	case errors.As(err, &invalid):
		return &fault{
			code: "FS-8012", kind: refused, subject: subject, what: "Temporal refuses the request", err: err,
			remedy: "see docs/operate/temporal.md for queries and search attributes",
		}
	}
	return &fault{
		code: "FS-8009", kind: transient, subject: subject, what: "Temporal did not answer", err: err,
		remedy: "try again; look at the server's log if it goes on",
	}
}
