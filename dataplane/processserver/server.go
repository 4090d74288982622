package processserver

import (
	"context"
	"log/slog"
	"net"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"farshore"
	"farshore/dataplane/credential"
	"farshore/dataplane/journal"
	"farshore/dataplane/pace"
	"farshore/dataplane/session"
	"farshore/dataplane/transport"
	"farshore/dataplane/vault"
	"farshore/fault"
)

// Config are the sizes and times of a process server.
type Config struct {
	Listen       string // the address of Run's listener, as it was asked for
	CacheDir     string
	CacheBytes   int64
	SegmentBytes int64         // of a segment before compression, at most
	SegmentAge   time.Duration // how long a segment waits for more, at least
	DrainWithin  time.Duration // how long a stopping server goes on putting what is spooled
	MoveWithin   time.Duration // how long the sessions of a server that is drained may take to go elsewhere by themselves

	// RequestsPerMonth is how many segments of one machine are to be put; 0: there is no limit. A machine that has spent its
	// share gets longer segments, up to a quarter of its RPO threshold.
	RequestsPerMonth int
	Bandwidth        pace.Schedule // of the line to the vault
}

// The defaults of a Config.
const (
	DefaultSegmentBytes = 8 << 20
	DefaultRequests     = 100_000 // in a month: one segment in 26 s
	DefaultSegmentAge   = 5 * time.Second
	DefaultDrain        = 10 * time.Second
	DefaultMove         = 15 * time.Second
)

// maxConnectionsEach is how many connections one machine may have: its session, the one that replaces it, and those whose
// end has not been noticed yet.
const maxConnectionsEach = 4

// Deps is what a process server needs from outside.
type Deps struct {
	Node    *credential.Node
	Journal journal.Deps
	Log     *slog.Logger
	Now     func() time.Time
}

// Server is a process server. Make it with [New].
type Server struct {
	config  Config
	name    string
	journal journal.Deps
	log     *slog.Logger
	now     func() time.Time
	spool   *spool
	seals   *turnstile    // to the processors
	puts    *turnstile    // to the storage account
	atOnce  int           // puts of one machine
	spare   chan struct{} // a place for each put that is not its machine's oldest
	accept  transport.Server

	linger time.Duration // see lingerPort

	mu       sync.Mutex
	machines map[farshore.MachineID]*machine
	allowed  map[farshore.MachineID]bool
	rpo      map[farshore.MachineID]time.Duration // thresholds of their policies, as far as they are known
	roster   *session.Roster
	live     map[farshore.MachineID]*stream
	dialled  map[string]int  // connections of each machine
	drain    context.Context // ends some time after Run's context

	ports        []*port
	wanted       string // address; "": as it is
	portFault    *fault.Fault
	drainedSince time.Time // zero: it is not being drained
}

// New opens the spool and makes a server that accepts no machine yet. Errors are *fault.Fault.
func New(c Config, d Deps) (*Server, error) {
	id, err := d.Node.Identity()
	if err != nil {
		return nil, err
	}
	sp, err := openSpool(c.CacheDir, c.CacheBytes)
	if err != nil {
		return nil, err
	}
	processors := runtime.GOMAXPROCS(0)
	return &Server{
		config: c, name: id.Name, journal: d.Journal, log: d.Log, now: d.Now, spool: sp,
		seals:  newTurnstile(d.Now, pace.NewWindow(processors, processors, processors), nil),
		puts:   newTurnstile(d.Now, pace.NewWindow(leastPuts, startPuts, mostPuts), c.Bandwidth),
		atOnce: putsAtOnce, spare: make(chan struct{}, sparePuts),
		accept: transport.Server{Node: d.Node, Log: d.Log}, linger: lingerPort,
		machines: map[farshore.MachineID]*machine{}, allowed: map[farshore.MachineID]bool{},
		roster: session.NewRoster(), live: map[farshore.MachineID]*stream{}, dialled: map[string]int{},
	}, nil
}

// Run serves until ctx ends, then ends the sessions and goes on putting spooled segments for a while. It closes the
// listener. What is left in the spool is put by the next run.
func (s *Server) Run(ctx context.Context, listener net.Listener) error {
	drain, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	stop := context.AfterFunc(ctx, func() {
		timer := time.AfterFunc(s.config.DrainWithin, cancel)
		<-drain.Done()
		timer.Stop()
	})
	defer stop()
	s.mu.Lock()
	s.drain = drain
	s.mu.Unlock()
	s.log.Info("process server is ready", "address", listener.Addr().String(), "name", s.name)
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.serve(gctx, listener) })
	g.Go(func() error {
		if err := s.resendAll(gctx); err != nil {
			return err
		}
		return s.emptyOut(gctx)
	})
	return g.Wait()
}

// draining is the context of what a stream does after its end.
func (s *Server) draining(ctx context.Context) context.Context {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.drain == nil {
		return ctx
	}
	return s.drain
}

// Allow replaces the machines whose streams are accepted. Sessions of others end.
func (s *Server) Allow(ctx context.Context, machines []farshore.MachineID) {
	allowed := map[farshore.MachineID]bool{}
	for _, m := range machines {
		allowed[m] = true
	}
	var unwanted []*stream
	s.mu.Lock()
	s.allowed = allowed
	for m, st := range s.live {
		if !allowed[m] {
			unwanted = append(unwanted, st)
		}
	}
	s.mu.Unlock()
	for _, st := range unwanted {
		st.stop(ctx, s.unwanted(farshore.MachineID(st.conn.Peer().Name)))
	}
}

// Thresholds tells the RPO thresholds of machines' policies, which bound how long their segments wait for more.
func (s *Server) Thresholds(rpo map[farshore.MachineID]time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rpo = rpo
}

func (s *Server) threshold(m farshore.MachineID) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rpo[m]
}

// paced is the vault with a gate in front of it that lets machines put in turn.
func (s *Server) paced(m farshore.MachineID) vault.Store {
	return pacedStore{Store: s.journal.Store, puts: s.puts, machine: m}
}

func (s *Server) allows(m farshore.MachineID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.allowed[m]
}

func (s *Server) unwanted(m farshore.MachineID) error {
	return &fault.Fault{
		Code: "FS-2005", Kind: fault.Operator, Subject: "machine " + string(m), What: "process server " + s.name + " is not asked to take its stream",
		Remedy: "enable protection of the machine, or wait until this process server has heard of it from the configuration server",
	}
}

// arrive counts a connection of a machine; false: it has as many as it may.
func (s *Server) arrive(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dialled[name] == maxConnectionsEach {
		return false
	}
	s.dialled[name]++
	return true
}

func (s *Server) depart(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dialled[name]--; s.dialled[name] == 0 {
		delete(s.dialled, name)
	}
}

func (s *Server) machineOf(id farshore.MachineID) *machine {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.machines[id]
	if m == nil {
		m = &machine{id: id, writing: make(chan struct{}, 1), age: pace.NewAge(s.now(), s.config.SegmentAge, s.config.RequestsPerMonth)}
		s.machines[id] = m
	}
	return m
}

// enter makes a stream the live one of its machine and gives the one that it replaces.
func (s *Server) enter(machine farshore.MachineID, st *stream) (*stream, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, refusal := s.roster.Enter(machine, st.instance, st.number); refusal != nil {
		return nil, refusal
	}
	older := s.live[machine]
	s.live[machine] = st
	return older, nil
}

// foreign reports whether another instance of the machine has the live session.
func (s *Server) foreign(machine farshore.MachineID, instance string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	live := s.live[machine]
	return live != nil && live.instance != instance
}

// exit takes a stream out, if it is still the live one.
func (s *Server) exit(m farshore.MachineID, st *stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.roster.Leave(m, st.instance, st.number)
	if s.live[m] == st {
		delete(s.live, m)
	}
}
