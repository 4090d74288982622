package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/operatorservice/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"google.golang.org/protobuf/types/known/durationpb"
)

const (
	// retention is how long the history of an ended workflow can be read.
	retention = 30 * 24 * time.Hour
	// askAgain is the pause between two looks at a server that is still learning of its namespace.
	askAgain = 200 * time.Millisecond
)

// searchAttributes are the columns by which Farshore's workflows are found. An attribute that is set but not registered
// fails the workflow task for ever, so they are registered at every start. SQL stores have room for 10 Keyword and 3 Int.
func searchAttributes() map[string]enumspb.IndexedValueType {
	return map[string]enumspb.IndexedValueType{
		"FarshoreMachine":    enumspb.INDEXED_VALUE_TYPE_KEYWORD,
		"FarshoreOperation":  enumspb.INDEXED_VALUE_TYPE_KEYWORD,
		"FarshoreState":      enumspb.INDEXED_VALUE_TYPE_KEYWORD,
		"FarshoreGroup":      enumspb.INDEXED_VALUE_TYPE_KEYWORD,
		"FarshorePlan":       enumspb.INDEXED_VALUE_TYPE_KEYWORD,
		"FarshoreSite":       enumspb.INDEXED_VALUE_TYPE_KEYWORD,
		"FarshoreRPOSeconds": enumspb.INDEXED_VALUE_TYPE_INT,
	}
}

// prepareNamespace registers the namespace and the search attributes and returns when both can be used.
// All of it may be repeated: what is there already stays as it is.
func prepareNamespace(ctx context.Context, c client.Client, namespace string) error {
	_, err := c.WorkflowService().RegisterNamespace(ctx, &workflowservice.RegisterNamespaceRequest{
		Namespace:                        namespace,
		Description:                      "Farshore: disaster recovery of physical servers",
		WorkflowExecutionRetentionPeriod: durationpb.New(retention),
	})
	var exists *serviceerror.NamespaceAlreadyExists
	if err != nil && !errors.As(err, &exists) {
		return notPrepared(namespace, fmt.Errorf("register it: %w", err))
	}
	// A new namespace, and then each new attribute, reaches the services one by one; until then they refuse it.
	for _, step := range []func(context.Context, client.Client, string) error{addSearchAttributes, trySearchAttributes} {
		if err := repeat(ctx, func() error { return step(ctx, c, namespace) }); err != nil {
			return notPrepared(namespace, err)
		}
	}
	return nil
}

// repeat tries a step until it works or ctx ends, and then gives the step's last error.
func repeat(ctx context.Context, step func() error) error {
	for {
		err := step()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(askAgain):
		}
	}
}

// addSearchAttributes registers what is missing.
func addSearchAttributes(ctx context.Context, c client.Client, namespace string) error {
	present, err := c.OperatorService().ListSearchAttributes(ctx, &operatorservice.ListSearchAttributesRequest{
		Namespace: namespace,
	})
	if err != nil {
		return fmt.Errorf("list search attributes: %w", err)
	}
	missing := searchAttributes()
	maps.DeleteFunc(missing, func(name string, _ enumspb.IndexedValueType) bool {
		_, there := present.GetCustomAttributes()[name]
		return there
	})
	if len(missing) == 0 {
		return nil
	}
	_, err = c.OperatorService().AddSearchAttributes(ctx, &operatorservice.AddSearchAttributesRequest{
		Namespace: namespace, SearchAttributes: missing,
	})
	if err != nil {
		return fmt.Errorf("add search attributes: %w", err)
	}
	return nil
}

// trySearchAttributes reads each attribute the way a list does: an answer proves that the frontend knows it.
func trySearchAttributes(ctx context.Context, c client.Client, namespace string) error {
	for name := range searchAttributes() {
		_, err := c.WorkflowService().CountWorkflowExecutions(ctx, &workflowservice.CountWorkflowExecutionsRequest{
			Namespace: namespace, Query: name + " IS NOT NULL",
		})
		if err != nil {
			return fmt.Errorf("query by %s: %w", name, err)
		}
	}
	return nil
}

func notPrepared(namespace string, err error) error {
	return &fault{
		code: "FS-8008", kind: operator, subject: "namespace " + namespace,
		what: "it or its search attributes could not be registered", err: err,
		remedy: "mend the named cause (rights, disk space); if attributes are full, a namespace has room for 10 Keyword and " +
			"3 Int: choose another with --namespace",
	}
}
