package storetest

import (
	"context"
	"errors"
	"iter"
	"math/rand/v2"
	"sync"

	"farshore/dataplane/block"
	"farshore/dataplane/vault"
	"farshore/fault"
)

// Fate is what becomes of a request.
type Fate uint8

// The fates of a request. No adapter lets a request arrive late that would do harm then: conditions see to that where
// the writer's token does not. So what cannot be Late is lost, and what cannot be done Twice passes.
const (
	Pass        Fate = iota
	LostRequest      // it never arrives; the caller gets a transient fault
	LostReply        // it is carried out; the caller gets a transient fault
	Late             // the caller gets a transient fault; the request arrives some requests later
	Twice            // it is carried out, and once more some requests later
	Dead             // the process has died: nothing is done any more, now or later
)

// lateness is how many requests later a late one arrives.
const lateness = 7

// ErrDead is what a process that died would never see.
var ErrDead = errors.New("the process has died")

// Op is one request.
type Op struct {
	Number int    // from 1
	Verb   string // the name of the method
	Name   string // of the object or disk
}

// Reads reports whether the request changes nothing.
func (o Op) Reads() bool {
	switch o.Verb {
	case "Get", "GetRange", "List", "Open", "ReadAt", "State", "Snapshots", "ReadSnapshot":
		return true
	}
	return false
}

// allow replaces a fate that no adapter lets happen to the request.
func (o Op) allow(f Fate) Fate {
	put := o.Verb == "PutIfAbsent" || o.Verb == "Delete"
	fenced := o.Verb == "WriteAt" || o.Verb == "Zero" || o.Verb == "SetState" || o.Verb == "Resize" || o.Verb == "Snapshot"
	if f == Twice && !put {
		return Pass
	}
	if f == Late && !put && !fenced {
		return LostRequest
	}
	return f
}

// Script decides the fate of each request. It is not called by two goroutines at once.
type Script func(Op) Fate

// DieAt is the script of a process that dies before its n-th request that changes something. died, if not nil, is set.
func DieAt(n int, died *bool) Script {
	changes, dead := 0, false
	return func(o Op) Fate {
		if !o.Reads() {
			changes++
		}
		dead = dead || changes == n
		if !dead {
			return Pass
		}
		if died != nil {
			*died = true
		}
		return Dead
	}
}

// Bad gives each request a bad fate with a probability. The seed replays it.
func Bad(seed uint64, probability float64) Script {
	random := rand.New(rand.NewPCG(seed, 1))
	return func(Op) Fate {
		if random.Float64() >= probability {
			return Pass
		}
		return LostRequest + Fate(random.IntN(int(Twice)))
	}
}

// line is the way to the vault.
type line struct {
	mu     sync.Mutex
	script Script
	number int
	late   []delayed
}

type delayed struct {
	at int
	do func()
}

// Faulty puts a script between a vault and its user.
func Faulty(s vault.Store, r vault.Replicas, script Script) (vault.Store, vault.Replicas) {
	l := &line{script: script}
	return &faultyStore{l, s}, &faultyReplicas{l, r}
}

// fate asks the script, and lets arrive what is due.
func (l *line) fate(verb, name string) Fate {
	l.mu.Lock()
	l.number++
	op := Op{Number: l.number, Verb: verb, Name: name}
	fate := op.allow(l.script(op))
	var due []func()
	if fate == Dead {
		l.late = nil
	}
	for len(l.late) > 0 && l.late[0].at <= l.number {
		due = append(due, l.late[0].do)
		l.late = l.late[1:]
	}
	l.mu.Unlock()
	for _, do := range due {
		do()
	}
	return fate
}

func (l *line) later(do func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.late = append(l.late, delayed{at: l.number + lateness, do: do})
}

func lost(verb, name string) error {
	return &fault.Fault{Code: "FS-3001", Kind: fault.Transient, Subject: "vault", What: verb + " " + name + ": lost by the fault script", Remedy: "none"}
}

// send carries a request out as its fate will have it. What a late one answers nobody hears.
func send[T any](ctx context.Context, l *line, verb, name string, do func(context.Context) (T, error)) (T, error) {
	var none T
	after := context.WithoutCancel(ctx)
	unheard := func() { do(after) } //nolint:errcheck // its caller is long gone
	switch l.fate(verb, name) {
	case Pass:
	case LostRequest:
		return none, lost(verb, name)
	case LostReply:
		if _, err := do(ctx); err != nil {
			return none, err
		}
		return none, lost(verb, name)
	case Late:
		l.later(unheard)
		return none, lost(verb, name)
	case Twice:
		l.later(unheard)
	case Dead:
		return none, ErrDead
	}
	return do(ctx)
}

// sendPlain is send for requests that answer nothing.
func sendPlain(ctx context.Context, l *line, verb, name string, do func(context.Context) error) error {
	_, err := send(ctx, l, verb, name, func(ctx context.Context) (struct{}, error) { return struct{}{}, do(ctx) })
	return err
}

// sendList begins a listing, or does not.
func sendList(l *line, prefix string, list iter.Seq2[vault.Entry, error]) iter.Seq2[vault.Entry, error] {
	return func(yield func(vault.Entry, error) bool) {
		switch l.fate("List", prefix) {
		case Pass, Twice:
			list(yield)
		case Dead:
			yield(vault.Entry{}, ErrDead)
		case LostRequest, LostReply, Late:
			yield(vault.Entry{}, lost("List", prefix))
		}
	}
}

type faultyStore struct {
	*line
	vault.Store
}

func (f *faultyStore) PutIfAbsent(ctx context.Context, name string, body []byte) (vault.Outcome, error) {
	return send(ctx, f.line, "PutIfAbsent", name, func(ctx context.Context) (vault.Outcome, error) { return f.Store.PutIfAbsent(ctx, name, body) })
}

func (f *faultyStore) Get(ctx context.Context, name string) ([]byte, error) {
	return send(ctx, f.line, "Get", name, func(ctx context.Context) ([]byte, error) { return f.Store.Get(ctx, name) })
}

func (f *faultyStore) GetRange(ctx context.Context, name string, offset, length int64) ([]byte, error) {
	return send(ctx, f.line, "GetRange", name, func(ctx context.Context) ([]byte, error) { return f.Store.GetRange(ctx, name, offset, length) })
}

func (f *faultyStore) List(ctx context.Context, prefix, after string) iter.Seq2[vault.Entry, error] {
	return sendList(f.line, prefix, f.Store.List(ctx, prefix, after))
}

func (f *faultyStore) Delete(ctx context.Context, name string) error {
	return sendPlain(ctx, f.line, "Delete", name, func(ctx context.Context) error { return f.Store.Delete(ctx, name) })
}

type faultyReplicas struct {
	*line
	vault.Replicas
}

func (f *faultyReplicas) Create(ctx context.Context, name string, sectors block.Count) error {
	return sendPlain(ctx, f.line, "Create", name, func(ctx context.Context) error { return f.Replicas.Create(ctx, name, sectors) })
}

func (f *faultyReplicas) Open(ctx context.Context, name string) (vault.ReplicaDisk, error) {
	switch f.fate("Open", name) {
	case Pass, Twice:
	case Dead:
		return nil, ErrDead
	case LostRequest, LostReply, Late:
		return nil, lost("Open", name)
	}
	d, err := f.Replicas.Open(ctx, name)
	if err != nil {
		return nil, err
	}
	return &faultyDisk{f.line, d}, nil
}

func (f *faultyReplicas) Remove(ctx context.Context, name string) error {
	return sendPlain(ctx, f.line, "Remove", name, func(ctx context.Context) error { return f.Replicas.Remove(ctx, name) })
}

func (f *faultyReplicas) List(ctx context.Context, prefix string) iter.Seq2[vault.Entry, error] {
	return sendList(f.line, prefix, f.Replicas.List(ctx, prefix))
}

type faultyDisk struct {
	*line
	vault.ReplicaDisk
}

func (f *faultyDisk) plain(ctx context.Context, verb string, do func(context.Context) error) error {
	return sendPlain(ctx, f.line, verb, f.Name(), do)
}

func (f *faultyDisk) Fence(ctx context.Context) error {
	return f.plain(ctx, "Fence", f.ReplicaDisk.Fence)
}

func (f *faultyDisk) ReadAt(ctx context.Context, p []byte, at block.Sector) error {
	switch f.fate("ReadAt", f.Name()) {
	case Pass, Twice:
		return f.ReplicaDisk.ReadAt(ctx, p, at)
	case Dead:
		return ErrDead
	case LostRequest, LostReply, Late:
	}
	return lost("ReadAt", f.Name())
}

func (f *faultyDisk) WriteAt(ctx context.Context, p []byte, at block.Sector) error {
	kept := append([]byte(nil), p...) // it may arrive late
	return f.plain(ctx, "WriteAt", func(ctx context.Context) error { return f.ReplicaDisk.WriteAt(ctx, kept, at) })
}

func (f *faultyDisk) Zero(ctx context.Context, e block.Extent) error {
	return f.plain(ctx, "Zero", func(ctx context.Context) error { return f.ReplicaDisk.Zero(ctx, e) })
}

func (f *faultyDisk) Resize(ctx context.Context, sectors block.Count) error {
	return f.plain(ctx, "Resize", func(ctx context.Context) error { return f.ReplicaDisk.Resize(ctx, sectors) })
}

func (f *faultyDisk) State(ctx context.Context) ([]byte, error) {
	return send(ctx, f.line, "State", f.Name(), f.ReplicaDisk.State)
}

func (f *faultyDisk) SetState(ctx context.Context, state []byte) error {
	return f.plain(ctx, "SetState", func(ctx context.Context) error { return f.ReplicaDisk.SetState(ctx, state) })
}

func (f *faultyDisk) Snapshot(ctx context.Context) (vault.SnapshotID, error) {
	return send(ctx, f.line, "Snapshot", f.Name(), f.ReplicaDisk.Snapshot)
}

func (f *faultyDisk) Snapshots(ctx context.Context) ([]vault.Snapshot, error) {
	return send(ctx, f.line, "Snapshots", f.Name(), f.ReplicaDisk.Snapshots)
}

func (f *faultyDisk) ReadSnapshot(ctx context.Context, id vault.SnapshotID, p []byte, at block.Sector) error {
	switch f.fate("ReadSnapshot", f.Name()) {
	case Pass, Twice:
		return f.ReplicaDisk.ReadSnapshot(ctx, id, p, at)
	case Dead:
		return ErrDead
	case LostRequest, LostReply, Late:
	}
	return lost("ReadSnapshot", f.Name())
}

func (f *faultyDisk) RemoveSnapshot(ctx context.Context, id vault.SnapshotID) error {
	return f.plain(ctx, "RemoveSnapshot", func(ctx context.Context) error { return f.ReplicaDisk.RemoveSnapshot(ctx, id) })
}

func (f *faultyDisk) CloneTo(ctx context.Context, id vault.SnapshotID, name string) error {
	return f.plain(ctx, "CloneTo", func(ctx context.Context) error { return f.ReplicaDisk.CloneTo(ctx, id, name) })
}
