package main

import (
	"context"
	"log/slog"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"farshore"
	"farshore/dataplane/applier"
	"farshore/dataplane/block"
	"farshore/dataplane/chain"
	"farshore/dataplane/collector"
	"farshore/dataplane/journal"
	"farshore/dataplane/retention"
	"farshore/dataplane/vault"
	"farshore/dataplane/vault/connect"
)

// thin lets an applier make bases and a collector remove what the policy lets go.
func (w *world) thin(policy string) {
	w.t.Helper()
	ctx := w.t.Context()
	p, err := retention.Parse(policy)
	if err != nil {
		w.t.Fatal(err)
	}
	d := w.deps
	d.Signer = w.ca.Node(w.t, farshore.RoleControl, "control")
	if err := journal.PutRetention(ctx, d, web, p); err != nil {
		w.t.Fatal(err)
	}
	key, err := vault.ReadKeyFile(w.keyFile)
	if err != nil {
		w.t.Fatal(err)
	}
	store, replicas, err := connect.Open(ctx, vault.Config{Kind: vault.KindFile, Path: w.dir})
	if err != nil {
		w.t.Fatal(err)
	}
	reader := journal.Reader{Store: store, Vault: d.Vault, Roots: d.Roots, Keys: vault.KeyRing{key}}
	w.apply(applier.Deps{
		Journal: reader, Store: store, Replicas: replicas, Signer: w.ca.Node(w.t, farshore.RoleApplier, "applier-1"),
		Settings: applier.Settings{}.WithDefaults(vault.KindFile), Poll: time.Millisecond, Log: slog.New(slog.DiscardHandler),
	})
	d.Signer = w.ca.Node(w.t, farshore.RoleCollector, "collector-1")
	c := collector.New(collector.Deps{Journal: d, Replicas: replicas, Every: time.Hour, Log: slog.New(slog.DiscardHandler)})
	for range 2 { // publish, then carry out: there is no grace here
		if _, err := c.Machine(ctx, web); err != nil {
			w.t.Fatal(err)
		}
	}
}

// apply runs an applier until the replica stands at the end and every base but the newest has its manifest.
func (w *world) apply(d applier.Deps) {
	w.t.Helper()
	a := applier.New(d)
	desired, stop := make(chan applier.Desired), make(chan struct{})
	ctx, cancel := context.WithCancel(w.t.Context())
	go func() {
		defer close(stop)
		if err := a.Run(ctx, desired); err != nil {
			w.t.Error(err)
		}
	}()
	desired <- applier.Desired{Machines: []farshore.MachineID{web}}
	for {
		o := a.Observed()
		there, err := d.Journal.Manifests(w.t.Context(), web, 1)
		if err != nil {
			w.t.Fatal(err)
		}
		marks := 0
		for _, err := range d.Store.List(w.t.Context(), chain.ReplicaPrefix(web, 1)+"base-", "") {
			if err != nil {
				w.t.Fatal(err)
			}
			marks++
		}
		if len(o.Replicas) == 1 && o.Replicas[0].Applied == w.writer.Durable().Position && len(there) == marks-1 {
			break
		}
		<-time.After(time.Millisecond)
	}
	cancel()
	<-stop
}

func TestEveryPointThatRetentionLeavesIsRestoredExactlyFromAProvenBase(t *testing.T) {
	w := newWorld(t)
	w.history()
	for i := range 12 {
		w.clock = w.clock.Add(10 * time.Minute)
		w.write(true, change{"sda", block.Sector(i * 50), 20, block.Data, byte(10 + i)}, change{"sdb", block.Sector(i * 30), 40, block.Zero, 0})
	}
	w.claim(3)
	w.write(true, change{"sdb", 3, 9, block.Data, 77})
	w.mustRun(&pinned{}, "pin", "web-01", "--at", w.order[1].String(), "--name", "ann", "--why", "to look at it")
	w.mustRun(&pinned{}, "pin", "web-01", "--at", w.order[2].String(), "--name", "ann-marie")
	w.mustRun(&pinned{}, "unpin", "web-01", "--name", "ann-marie")
	w.thin("all:15m0s,20m0s:1d")

	var points []listedPoint
	w.mustRun(&points, "points", "web-01")
	if len(points) >= len(w.order) || len(points) < 6 || !slices.ContainsFunc(points, func(p listedPoint) bool { return p.Kept == retention.InTier }) {
		t.Fatalf("%d of %d points are left: %+v", len(points), len(w.order), points)
	}
	bases := 0
	for _, p := range points {
		out := filepath.Join(t.TempDir(), "out")
		var plan writePlan
		w.mustRun(&plan, "write", "web-01", "--at", p.Position.String(), "--out", out)
		if plan.Base == "" && p.Position.Compare(w.order[1]) > 0 { // the beginning itself is there for the pin's sake
			t.Errorf("point %v was restored from a beginning that is gone", p.Position)
		}
		if plan.Base == p.Position.String() {
			bases++
		}
		for id, want := range w.points[p.Position] {
			w.sameFile(filepath.Join(out, string(id)+".raw"), want)
		}
	}
	w.mustRun(&verified{}, "verify", "web-01")
	if !slices.ContainsFunc(points, func(p listedPoint) bool { return p.Position == w.order[1] && p.Kept == retention.Pinned }) {
		t.Errorf("the pinned point is not there: %+v", points[0])
	}
	if code, _, _ := w.run("write", "web-01", "--at", w.order[3].String(), "--out", filepath.Join(t.TempDir(), "gone")); code == 0 {
		t.Error("a point that is gone was restored")
	}
	t.Logf("%d of %d points are left, %d of them are bases", len(points), len(w.order), bases)
}
