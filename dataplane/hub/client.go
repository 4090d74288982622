package hub

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"connectrpc.com/connect"
	"github.com/cenkalti/backoff/v5"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"

	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/api/gen/farshore/v1/farshorev1connect"
	"farshore/dataplane/credential"
	"farshore/dataplane/host"
	"farshore/dataplane/proxy"
	"farshore/fault"
)

const (
	// MaxWait is how long the hub may hold a poll back.
	MaxWait = 30 * time.Second

	reportEvery   = 10 * time.Second
	reportSpacing = 500 * time.Millisecond // between two reports, however often Report is called
	answerTimeout = 20 * time.Second       // for the answer, beside the time it was asked to wait
	firstPause    = 500 * time.Millisecond
	longestPause  = 30 * time.Second
	renewalCheck  = time.Minute
)

// Client keeps a node in touch with the hub. Make it with [NewClient].
type Client struct {
	address string
	node    *credential.Node
	dir     string
	build   string
	now     func() time.Time
	log     *slog.Logger
	still   *host.Stillness
	http    *http.Client
	service farshorev1connect.HubServiceClient
	changed chan struct{}

	mu      sync.Mutex // held while a document is judged, saved and acted on: one at a time, in order
	have    *farshorev1.SyncResponse
	later   bool         // have is not on disk, for nothing may be written now
	unsaved *fault.Fault // why have is not on disk; nil: it is
}

// Config is what a client needs to know.
type Config struct {
	Address string // host:port of the configuration server
	Node    *credential.Node
	Dir     string // where the desired document is kept; made if it is not there
	Build   string // the version of the node's program
	Now     func() time.Time
	Log     *slog.Logger
	Proxy   proxy.Func      // nil: the configuration server is dialled directly
	Still   *host.Stillness // while it lasts nothing is written; nil: never
}

// NewClient makes a client; it does nothing before [Client.Run].
func NewClient(c Config) *Client {
	client := through(c.Node, c.Proxy)
	return &Client{
		address: c.Address, node: c.Node, dir: c.Dir, build: c.Build, now: c.Now, log: c.Log, still: c.Still,
		http: client, service: service(client, c.Address), changed: make(chan struct{}, 1),
	}
}

// Run keeps the node in touch until ctx is done and then returns nil. It calls act first with the document kept on disk, if
// there is one, then with every newer one that asks for something else, never two at a time. What act is given was saved
// before, if that was possible. It calls observe, which sets the Observed of the request, for each report: every ten
// seconds and after [Client.Report].
//
// The hub may be away for as long as it likes: Run goes on trying and says so once. A document that cannot be saved is a
// fault (FS-6006) in the reports, and tried again at each. Run returns an error only if the node's own folder cannot be
// made or its certificate not read.
func (c *Client) Run(ctx context.Context, observe func(*farshorev1.SyncRequest), act func(*farshorev1.SyncResponse)) error {
	if err := host.MakePrivate(c.dir); err != nil {
		return fmt.Errorf("keep the desired document: %w", err)
	}
	c.start(act)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return c.poll(ctx, act) })
	g.Go(func() error { return c.report(ctx, observe, act) })
	g.Go(func() error { return c.renewals(ctx) })
	err := g.Wait()
	c.http.CloseIdleConnections()
	return err
}

// Report asks for a report soon, because something happened that the hub waits for. It never blocks.
func (c *Client) Report() {
	select {
	case c.changed <- struct{}{}:
	default: // one is asked for already
	}
}

// Tell reports once more, beside [Client.Run], and returns when the hub has the report: for a node that is about to go.
func (c *Client) Tell(ctx context.Context, observe func(*farshorev1.SyncRequest)) error {
	for pause := newPause(); ; {
		request := &farshorev1.SyncRequest{Have: c.version(), Build: c.build}
		observe(request)
		_, err := c.sync(ctx, request)
		if err == nil || host.Pause(ctx, pause.NextBackOff()) != nil {
			return err
		}
	}
}

// start acts on the document kept from the last run.
func (c *Client) start(act func(*farshorev1.SyncResponse)) {
	document, err := LoadDesired(c.dir)
	if err != nil { // the hub will send it again
		c.log.Error("the desired document kept here cannot be used", "err", err)
		return
	}
	if document == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.have = document
	act(document)
}

// poll waits at the hub for a new document, again and again.
func (c *Client) poll(ctx context.Context, act func(*farshorev1.SyncResponse)) error {
	pause := newPause()
	for away := false; ctx.Err() == nil; {
		request := &farshorev1.SyncRequest{Have: c.version(), WaitSeconds: uint32(MaxWait.Seconds()), Build: c.build}
		answer, err := c.sync(ctx, request)
		if err == nil {
			c.accept(answer, act)
			if away {
				c.log.Info("the hub is back", "hub", c.address)
			}
			away = false
			pause.Reset()
			continue
		}
		if ctx.Err() != nil {
			break
		}
		if !away {
			c.log.Warn("the hub is away; going on with the desired document kept here", "hub", c.address, "err", err)
		}
		away = true
		if host.Pause(ctx, pause.NextBackOff()) != nil {
			break
		}
	}
	return nil
}

// report tells the hub what the node observed, and fetches what is desired on the way.
func (c *Client) report(ctx context.Context, observe func(*farshorev1.SyncRequest), act func(*farshorev1.SyncResponse)) error {
	pause := newPause()
	for over := ctx.Err(); over == nil; {
		request := &farshorev1.SyncRequest{Have: c.version(), Build: c.build}
		observe(request)
		if f := c.saveAgain(); f != nil {
			addFault(request, f)
		}
		answer, err := c.sync(ctx, request)
		if err != nil { // poll says that the hub is away
			over = host.Pause(ctx, pause.NextBackOff())
			continue
		}
		pause.Reset()
		c.accept(answer, act)
		if over = host.Pause(ctx, reportSpacing); over == nil {
			over = c.awaitChange(ctx)
		}
	}
	return nil
}

func (c *Client) awaitChange(ctx context.Context) error {
	t := time.NewTimer(reportEvery)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-c.changed:
	case <-t.C:
	}
	return ctx.Err()
}

func (c *Client) sync(ctx context.Context, request *farshorev1.SyncRequest) (*farshorev1.SyncResponse, error) {
	limit := time.Duration(request.GetWaitSeconds())*time.Second + answerTimeout
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	answer, err := c.service.Sync(ctx, connect.NewRequest(request))
	if err != nil {
		return nil, Error(c.address, err)
	}
	return answer.Msg, nil
}

// accept saves a document that is newer than the node's and acts on it. Any other is ignored.
// A full volume must not keep a node from doing what is wanted of it: a document that cannot be saved is acted on too.
func (c *Client) accept(document *farshorev1.SyncResponse, act func(*farshorev1.SyncResponse)) {
	if document.GetDesired() == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch order := CompareVersions(document.GetVersion(), c.have.GetVersion()); {
	case order < 0:
		c.log.Warn("the hub sent an older desired document; ignored", "sent", document.GetVersion(), "have", c.have.GetVersion())
		return
	case order == 0: // poll and report fetched the same one
		return
	}
	c.save(document)
	// A hub that was started again sends what it sent before under a higher incarnation: that is nothing to act on.
	same := sameWish(document, c.have)
	c.have = document
	if !same {
		act(document)
	}
	c.Report() // so that the hub soon knows what this node acts on
}

// save keeps a document on disk and notes whether that was possible. The caller holds the lock.
func (c *Client) save(document *farshorev1.SyncResponse) {
	done, err := c.still.Write(func() error { return saveDesired(c.dir, document) })
	if c.later = !done; c.later {
		return
	}
	if err == nil {
		c.unsaved = nil
		return
	}
	if c.unsaved == nil {
		c.log.Error("the desired document cannot be kept here; acting on it all the same", "version", document.GetVersion(), "err", err)
	}
	c.unsaved = &fault.Fault{
		Code: "FS-6006", Kind: fault.Operator, Subject: "folder " + c.dir,
		What:   "the desired document cannot be kept there: after a restart the node acts on an older one until the hub answers",
		Remedy: "free space on its volume and check that it can be written; the document is kept then by itself", Err: err,
	}
}

// saveAgain tries again to keep a document that could not be saved, and says why that is still impossible, if it is.
func (c *Client) saveAgain() *fault.Fault {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.unsaved != nil || c.later {
		c.save(c.have)
	}
	return c.unsaved
}

// addFault puts a fault of the client's own among those that the node observed.
func addFault(r *farshorev1.SyncRequest, f *fault.Fault) {
	m := FaultMessage(f)
	switch o := r.GetObserved().(type) {
	case *farshorev1.SyncRequest_Agent:
		o.Agent.Faults = append(o.Agent.Faults, m)
	case *farshorev1.SyncRequest_ProcessServer:
		o.ProcessServer.Faults = append(o.ProcessServer.Faults, m)
	case *farshorev1.SyncRequest_Applier:
		o.Applier.Faults = append(o.Applier.Faults, m)
	case *farshorev1.SyncRequest_Collector:
		o.Collector.Faults = append(o.Collector.Faults, m)
	case *farshorev1.SyncRequest_MasterTarget:
		o.MasterTarget.Faults = append(o.MasterTarget.Faults, m)
	}
}

// sameWish reports whether two documents ask for the same under different versions.
func sameWish(a, b *farshorev1.SyncResponse) bool {
	if a == nil || b == nil {
		return false
	}
	b = proto.CloneOf(b)
	b.Version = a.GetVersion()
	return proto.Equal(a, b)
}

func (c *Client) version() *farshorev1.Version {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.have.GetVersion()
}

func newPause() *backoff.ExponentialBackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.MaxInterval = firstPause, longestPause
	return b
}

// renewals renews the certificate when half of its life is over, and goes on trying until it succeeds. Nodes enrolled
// together do not renew together: each waits up to a tenth of the life longer.
func (c *Client) renewals(ctx context.Context) error {
	delay := rand.Float64() / 10
	for failed, over := false, ctx.Err(); over == nil; over = host.Pause(ctx, renewalCheck) {
		begin, end, err := c.node.Lifetime()
		if err != nil {
			return err
		}
		if c.now().Before(renewalTime(begin, end, delay)) {
			continue
		}
		err = c.Renew(ctx)
		if err != nil && ctx.Err() == nil && !failed {
			c.log.Warn("the certificate could not be renewed; trying on", "end", end, "err", err)
		}
		failed = err != nil
	}
	return nil
}

func renewalTime(begin, end time.Time, delay float64) time.Time {
	life := end.Sub(begin)
	return begin.Add(life/2 + time.Duration(delay*float64(life)))
}

// Renew trades the node's certificate for a new one now. The new one is on stable storage when Renew returns nil.
func (c *Client) Renew(ctx context.Context) error {
	id, err := c.node.Identity()
	if err != nil {
		return err
	}
	request, err := c.node.CertificateRequest(id)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	answer, err := c.service.Renew(ctx, connect.NewRequest(&farshorev1.RenewRequest{CertificateRequest: request}))
	if err != nil {
		return Error(c.address, err)
	}
	done, err := c.still.Write(func() error { return c.node.SaveChain(answer.Msg.GetChain()) })
	if err == nil && !done {
		err = errors.New("nothing may be written now")
	}
	if err != nil {
		return fmt.Errorf("renew the certificate: %w", err)
	}
	c.http.CloseIdleConnections() // the next call shows the new one
	return nil
}
