package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"farshore"
	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/dataplane/hub"
	"farshore/dataplane/journal"
	"farshore/dataplane/pace"
	"farshore/dataplane/processserver"
	"farshore/dataplane/transport"
)

// processServerConfig is the configuration file of a process server.
type processServerConfig struct {
	NodeConfig `yaml:",inline"`
	Listen     string        `yaml:"listen"`
	Address    string        `yaml:"address"` // host:port that agents dial, if it is not listen
	Cache      cacheConfig   `yaml:"cache"`
	Segment    segmentConfig `yaml:"segment"`
	Bandwidth  []spanConfig  `yaml:"bandwidth"` // of the line to the vault, by time of day
	schedule   pace.Schedule
}

type cacheConfig struct {
	Path  string `yaml:"path"`
	Bytes int64  `yaml:"bytes"`
}

type segmentConfig struct {
	Bytes      int64 `yaml:"bytes"`
	AgeSeconds int   `yaml:"ageSeconds"`

	RequestsPerMonth int `yaml:"requestsPerMonth"` // of one machine
}

// The bounds of what may be configured.
const (
	defaultCacheBytes = 10 << 30
	minSegmentBytes   = 256 << 10
	maxSegmentBytes   = 32 << 20
	maxSegmentAge     = 600
	minRequests       = 10_000 // one segment in 4 minutes
)

func (c *processServerConfig) complete(path string) error {
	if c.Listen == "" {
		c.Listen = fmt.Sprintf("0.0.0.0:%d", transport.Port)
	}
	if c.Address == "" {
		c.Address = c.Listen
	}
	if c.Cache.Path == "" {
		c.Cache.Path = "/var/cache/farshore/process-server"
	}
	if c.Cache.Bytes == 0 {
		c.Cache.Bytes = defaultCacheBytes
	}
	if c.Segment.Bytes == 0 {
		c.Segment.Bytes = processserver.DefaultSegmentBytes
	}
	if c.Segment.AgeSeconds == 0 {
		c.Segment.AgeSeconds = int(processserver.DefaultSegmentAge / time.Second)
	}
	if c.Segment.RequestsPerMonth == 0 {
		c.Segment.RequestsPerMonth = processserver.DefaultRequests
	}
	var err error
	if c.schedule, err = schedule(c.Bandwidth); err != nil {
		return badConfig(path, err.Error(), nil)
	}
	switch {
	case !hub.Dialable(c.Address):
		return badConfig(path, fmt.Sprintf("agents cannot dial %q: address is to be HOST:PORT as they reach it", c.Address), nil)
	case c.Segment.Bytes < minSegmentBytes || c.Segment.Bytes > maxSegmentBytes:
		return badConfig(path, fmt.Sprintf("segment.bytes is %d, want %d to %d", c.Segment.Bytes, minSegmentBytes, maxSegmentBytes), nil)
	case c.Segment.AgeSeconds < 1 || c.Segment.AgeSeconds > maxSegmentAge:
		return badConfig(path, fmt.Sprintf("segment.ageSeconds is %d, want 1 to %d", c.Segment.AgeSeconds, maxSegmentAge), nil)
	case c.Segment.RequestsPerMonth < minRequests:
		return badConfig(path, fmt.Sprintf("segment.requestsPerMonth is %d, want at least %d", c.Segment.RequestsPerMonth, minRequests), nil)
	case c.Cache.Bytes < 4*c.Segment.Bytes:
		return badConfig(path, fmt.Sprintf("cache.bytes is %d, want at least four segments of %d", c.Cache.Bytes, c.Segment.Bytes), nil)
	}
	return c.completeNode(farshore.RoleProcessServer, path)
}

func newProcessServer() *cobra.Command {
	return roleCommand(farshore.RoleProcessServer, "Receive the streams of machines and write the journal", (*processServerConfig).complete, runProcessServer)
}

func runProcessServer(ctx context.Context, c processServerConfig, log *slog.Logger) error {
	m, err := c.enter(farshore.RoleProcessServer, log)
	if err != nil {
		return err
	}
	listener, err := transport.Listen(ctx, c.Listen)
	if err != nil {
		return err
	}
	server, err := c.server(ctx, m)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	var desired atomic.Pointer[farshorev1.ProcessServerDesired]
	return m.run(ctx, work{
		run: func(ctx context.Context) error { return server.Run(ctx, listener) },
		observe: func(r *farshorev1.SyncRequest) {
			o := server.Observe()
			r.Observed = observed(c.dialled(o.Listen, desired.Load()), o)
		},
		act: func(ctx context.Context, r *farshorev1.SyncResponse) {
			d := r.GetProcessServer()
			desired.Store(d)
			server.Thresholds(thresholds(d))
			server.Allow(ctx, machines(d))
			server.Drain(d.GetDrain())
			server.Listen(cmp.Or(d.GetListen(), c.Listen))
		},
		metrics: server.Metrics(),
	})
}

func (c *processServerConfig) server(ctx context.Context, m member) (*processserver.Server, error) {
	v, err := m.openVault(ctx)
	if err != nil {
		return nil, err
	}
	return processserver.New(processserver.Config{
		Listen: c.Listen, CacheDir: c.Cache.Path, CacheBytes: c.Cache.Bytes, SegmentBytes: c.Segment.Bytes,
		SegmentAge: time.Duration(c.Segment.AgeSeconds) * time.Second, DrainWithin: processserver.DefaultDrain,
		MoveWithin:       processserver.DefaultMove,
		RequestsPerMonth: c.Segment.RequestsPerMonth, Bandwidth: c.schedule,
	}, processserver.Deps{Node: m.node, Log: m.log, Now: time.Now, Journal: journal.Deps{
		Store: v.store, Vault: v.id, Signer: m.node, Roots: m.roots, Recipients: v.description.Recipients, Rotated: v.recipients, Now: time.Now,
		Report: m.badDocument,
	}})
}

// machines are those of a desired document.
func machines(d *farshorev1.ProcessServerDesired) []farshore.MachineID {
	var all []farshore.MachineID
	for _, name := range d.GetMachines() {
		all = append(all, farshore.MachineID(name))
	}
	return all
}

// thresholds are the RPO thresholds of a desired document.
func thresholds(d *farshorev1.ProcessServerDesired) map[farshore.MachineID]time.Duration {
	all := map[farshore.MachineID]time.Duration{}
	for name, seconds := range d.GetRpoSeconds() {
		all[farshore.MachineID(name)] = time.Duration(seconds) * time.Second
	}
	return all
}

// dialled is what agents dial to reach an address that the server listens on.
func (c *processServerConfig) dialled(listen string, d *farshorev1.ProcessServerDesired) string {
	if listen != c.Listen && listen == d.GetListen() {
		return cmp.Or(d.GetAddress(), listen)
	}
	return c.Address
}

// observed is the report to the hub.
func observed(address string, o processserver.Observed) *farshorev1.SyncRequest_ProcessServer {
	m := &farshorev1.ProcessServerObserved{Address: address, CacheUsedBytes: uint64(o.CacheUsed), CacheLimitBytes: uint64(o.CacheLimit), Draining: o.Draining, Drained: o.Drained}
	for _, s := range o.Streams {
		m.Streams = append(m.Streams, &farshorev1.StreamObserved{
			Machine: string(s.Machine), Durable: hub.PositionMessage(s.Durable), ReceivedBytes: uint64(s.Received),
			CachedBytes: uint64(s.Cached), SealedBytes: uint64(s.Sealed), UploadedBytes: uint64(s.Uploaded), Connected: s.Connected,
		})
	}
	for _, f := range o.Faults {
		m.Faults = append(m.Faults, hub.FaultMessage(f))
	}
	return &farshorev1.SyncRequest_ProcessServer{ProcessServer: m}
}
