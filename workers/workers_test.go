package workers

import (
	"bytes"
	"context"
	"encoding/base64"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	commonpb "go.temporal.io/api/common/v1"
	"google.golang.org/protobuf/proto"

	"farshore/activities/azure"
	"farshore/activities/nodes"
	"farshore/activities/recovery"
	"farshore/fault"
)

// The implementations that the configuration server puts together fit.
var (
	_ Server = nodes.Steps{}
	_ Server = recovery.Steps{}
	_ Server = (*azure.Adapter)(nil)
)

func keyFile(t *testing.T, keys ...byte) string {
	t.Helper()
	var lines []string
	for _, k := range keys {
		lines = append(lines, base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{k}, keyBytes)))
	}
	path := filepath.Join(t.TempDir(), "payload.key")
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func load(t *testing.T, keys ...byte) *Codec {
	t.Helper()
	c, err := LoadCodec(keyFile(t, keys...))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func payload(text string) *commonpb.Payload {
	return &commonpb.Payload{Metadata: map[string][]byte{"encoding": []byte("json/plain")}, Data: []byte(text)}
}

func wantFault(t *testing.T, err error, code string) {
	t.Helper()
	if f, ok := fault.As(err); !ok || f.Code != code || f.Remedy == "" {
		t.Errorf("error %v, want %s with a remedy", err, code)
	}
}

func TestAPayloadIsSealedAndOpened(t *testing.T) {
	c := load(t, 1)
	plain := []*commonpb.Payload{payload(`{"machine":"web-01"}`), payload("")}
	sealed, err := c.Encode(plain)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(sealed[0].String(), "web-01") || proto.Equal(sealed[0], plain[0]) {
		t.Errorf("readable: %v", sealed[0])
	}
	again, err := c.Encode(plain)
	if err != nil || bytes.Equal(again[0].GetData(), sealed[0].GetData()) {
		t.Errorf("sealing twice gives the same bytes (%v)", err)
	}
	opened, err := c.Decode(sealed)
	if err != nil {
		t.Fatal(err)
	}
	for i := range plain {
		if !proto.Equal(opened[i], plain[i]) {
			t.Errorf("payload %d: %v, want %v", i, opened[i], plain[i])
		}
	}
}

func TestAPlainPayloadPasses(t *testing.T) {
	in := payload(`{"machine":"web-01"}`)
	out, err := load(t, 1).Decode([]*commonpb.Payload{in})
	if err != nil || !proto.Equal(out[0], in) {
		t.Errorf("%v, %v", out, err)
	}
}

func TestAChangedKeyStillOpensWhatTheFormerSealed(t *testing.T) {
	sealed, err := load(t, 1).Encode([]*commonpb.Payload{payload("x")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := load(t, 2, 1).Decode(sealed); err != nil {
		t.Errorf("with the former key: %v", err)
	}
	_, err = load(t, 2).Decode(sealed)
	wantFault(t, err, "FS-8101")
}

func TestADamagedPayloadIsSaidToBe(t *testing.T) {
	c := load(t, 1)
	for name, damage := range map[string]func(*commonpb.Payload){
		"a changed byte": func(p *commonpb.Payload) { p.Data[len(p.Data)-1] ^= 1 },
		"cut short":      func(p *commonpb.Payload) { p.Data = p.Data[:5] },
	} {
		sealed, err := c.Encode([]*commonpb.Payload{payload("x")})
		if err != nil {
			t.Fatal(err)
		}
		damage(sealed[0])
		if _, err = c.Decode(sealed); err == nil {
			t.Errorf("%s was not noticed", name)
		}
		wantFault(t, err, "FS-8102")
	}
}

func TestAKeyFileIsCheckedAndNeverReplaced(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "payload.key")
	if err := CreateKey(path); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadCodec(path); err != nil {
		t.Error(err)
	}
	if at, err := os.Stat(path); err != nil || at.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", at.Mode(), err)
	}
	if CreateKey(path) == nil {
		t.Error("a key file was replaced")
	}
	for name, content := range map[string]string{"empty": "\n", "short": "AAAA\n", "no base64": "hello, world\n"} {
		bad := filepath.Join(dir, "bad")
		if err := os.WriteFile(bad, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadCodec(bad); err == nil {
			t.Errorf("%s: taken", name)
		} else {
			wantFault(t, err, "FS-8101")
		}
	}
	_, err := LoadCodec(filepath.Join(dir, "none"))
	wantFault(t, err, "FS-8101")
}

func TestTheConvertersSealFailuresToo(t *testing.T) {
	_, failures := load(t, 1).converters()
	f := failures.ErrorToFailure(&fault.Fault{Code: "FS-5001", Subject: "machine web-01", What: "secret"})
	if strings.Contains(f.String(), "secret") || strings.Contains(f.String(), "web-01") {
		t.Errorf("readable: %v", f)
	}
}

func TestMetricsOfTheSDKReachPrometheus(t *testing.T) {
	m := NewMetrics()
	registry := prometheus.NewPedanticRegistry()
	if err := registry.Register(m); err != nil {
		t.Fatal(err)
	}
	h := m.Handler().WithTags(map[string]string{"namespace": "farshore"})
	h.Counter("temporal_request").Inc(2)
	h.Counter("temporal_request").Inc(1)
	h.WithTags(map[string]string{"operation": "Poll"}).Gauge("temporal_worker_task_slots_used").Update(7)
	h.Timer("temporal_request_latency").Record(1500 * time.Millisecond)
	want := `
# HELP temporal_request of the Temporal SDK
# TYPE temporal_request counter
temporal_request{namespace="farshore"} 3
# HELP temporal_request_latency_seconds of the Temporal SDK
# TYPE temporal_request_latency_seconds summary
temporal_request_latency_seconds_sum{namespace="farshore"} 1.5
temporal_request_latency_seconds_count{namespace="farshore"} 1
# HELP temporal_worker_task_slots_used of the Temporal SDK
# TYPE temporal_worker_task_slots_used gauge
temporal_worker_task_slots_used{namespace="farshore",operation="Poll"} 7
`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
}

func TestConnectingReadsItsFilesAndAsksNobody(t *testing.T) {
	conn, err := Connect(Config{Address: "127.0.0.1:1", Namespace: "farshore", PayloadKeyFile: keyFile(t, 1)}, slog.New(slog.DiscardHandler))
	if err != nil || conn.Codec == nil {
		t.Fatal(err)
	}
	conn.Client.Close()
	_, err = Connect(Config{Address: "127.0.0.1:1", PayloadKeyFile: "none"}, slog.New(slog.DiscardHandler))
	wantFault(t, err, "FS-8101")
	_, err = Connect(Config{Address: "127.0.0.1:1", CAFile: "none"}, slog.New(slog.DiscardHandler))
	wantFault(t, err, "FS-8103")
}

func TestWorkersStopWhileTemporalDoesNotAnswer(t *testing.T) {
	conn, err := Connect(Config{Address: "127.0.0.1:1", Namespace: "farshore"}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Client.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if err := Run(ctx, conn, Deps{Log: slog.New(stopAtFirstWarning{slog.DiscardHandler, cancel})}); err != nil {
		t.Error(err)
	}
}

// stopAtFirstWarning is a log that stops what writes to it.
type stopAtFirstWarning struct {
	slog.Handler
	stop func()
}

func (stopAtFirstWarning) Enabled(context.Context, slog.Level) bool { return true }

func (h stopAtFirstWarning) Handle(context.Context, slog.Record) error {
	h.stop()
	return nil
}
