package main

import (
	"net"
	"strconv"
	"time"

	"go.temporal.io/server/chasm/lib/activity"
	"go.temporal.io/server/common/authorization"
	"go.temporal.io/server/common/cluster"
	"go.temporal.io/server/common/config"
	"go.temporal.io/server/common/dynamicconfig"
	"go.temporal.io/server/common/log"
	"go.temporal.io/server/common/membership/static"
	"go.temporal.io/server/common/primitives"
	"go.temporal.io/server/temporal"
)

const (
	clusterName     = "active"
	executionStore  = "executions"
	visibilityStore = "visibility"
	// disabled is the word the server's configuration wants for "no archive".
	disabled = "disabled"
)

// newServer assembles the four services in one process. Hosts are fixed, so there is no gossip and no membership port.
func newServer(s *store, p ports, o serverOptions) (temporal.Server, error) {
	return temporal.NewServer(
		temporal.WithConfig(clusterConfig(s, p, o)),
		temporal.ForServices(temporal.DefaultServices),
		temporal.WithStaticHosts(map[primitives.ServiceName]static.Hosts{
			primitives.FrontendService: static.SingleLocalHost(frontendAddress(o.ip, p.frontend)),
			primitives.HistoryService:  static.SingleLocalHost(address(loopback, p.history)),
			primitives.MatchingService: static.SingleLocalHost(address(loopback, p.matching)),
			primitives.WorkerService:   static.SingleLocalHost(address(loopback, p.worker)),
		}),
		temporal.WithLogger(log.NewZapLogger(newLogger(o.logLevel))),
		temporal.WithDynamicConfigClient(dynamicSettings()),
		temporal.WithAuthorizer(authorization.NewNoopAuthorizer()),
		temporal.WithClaimMapper(func(*config.Config) authorization.ClaimMapper { return authorization.NewNoopClaimMapper() }),
	)
}

func clusterConfig(s *store, p ports, o serverOptions) *config.Config {
	front := frontendAddress(o.ip, p.frontend)
	return &config.Config{
		Global: config.Global{
			// Only its length matters with fixed hosts: the server allows twice this for the services to start.
			Membership: config.Membership{MaxJoinDuration: startLimit / 4, BroadcastAddress: loopback},
		},
		Persistence: config.Persistence{
			DefaultStore:     executionStore,
			VisibilityStore:  visibilityStore,
			NumHistoryShards: s.shards,
			DataStores: map[string]config.DataStore{
				executionStore:  {SQL: s.executions},
				visibilityStore: {SQL: s.visibility},
			},
		},
		ClusterMetadata: &cluster.Config{
			FailoverVersionIncrement: 10,
			MasterClusterName:        clusterName,
			CurrentClusterName:       clusterName,
			ClusterInformation: map[string]cluster.ClusterInformation{
				clusterName: {Enabled: true, InitialFailoverVersion: 1, RPCAddress: front},
			},
		},
		DCRedirectionPolicy: config.DCRedirectionPolicy{Policy: "noop"},
		Services: map[string]config.Service{
			string(primitives.FrontendService): {RPC: config.RPC{GRPCPort: p.frontend, BindOnIP: o.ip}},
			string(primitives.HistoryService):  {RPC: config.RPC{GRPCPort: p.history, BindOnLocalHost: true}},
			string(primitives.MatchingService): {RPC: config.RPC{GRPCPort: p.matching, BindOnLocalHost: true}},
			string(primitives.WorkerService):   {RPC: config.RPC{GRPCPort: p.worker, BindOnLocalHost: true}},
		},
		Archival: config.Archival{
			History:    config.HistoryArchival{State: disabled},
			Visibility: config.VisibilityArchival{State: disabled},
		},
		NamespaceDefaults: config.NamespaceDefaults{Archival: config.ArchivalNamespaceDefaults{
			History:    config.HistoryArchivalNamespaceDefaults{State: disabled},
			Visibility: config.VisibilityArchivalNamespaceDefaults{State: disabled},
		}},
		PublicClient: config.PublicClient{HostPort: front},
	}
}

// dynamicSettings names the features Farshore stands on, even where they are the default, so that another server
// version cannot take them away unnoticed.
func dynamicSettings() dynamicconfig.StaticClient {
	return dynamicconfig.StaticClient{
		dynamicconfig.FrontendEnableUpdateWorkflowExecution.Key():              true,
		dynamicconfig.FrontendEnableUpdateWorkflowExecutionAsyncAccepted.Key(): true,
		dynamicconfig.EnableDeploymentVersions.Key():                           true,
		activity.Enabled.Key(): true,
		// One replication group must not keep the steps of the others waiting.
		dynamicconfig.MatchingEnableFairness.Key(): true,
		// The server would ask a public host for newer versions; a recovery site may have no way out, and nobody asked.
		dynamicconfig.EnableServerVersionCheck.Key(): false,
		// How long a new search attribute or namespace takes to be known to every service.
		dynamicconfig.NamespaceCacheRefreshInterval.Key(): time.Second,
	}
}

// frontendAddress is where this host reaches the frontend: an unspecified address means every interface, loopback too.
func frontendAddress(ip string, port int) string {
	if parsed := net.ParseIP(ip); parsed != nil && parsed.IsUnspecified() {
		ip = loopback
	}
	return address(ip, port)
}

func address(ip string, port int) string {
	return net.JoinHostPort(ip, strconv.Itoa(port))
}
