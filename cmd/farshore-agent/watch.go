package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/dataplane/host"
	"farshore/dataplane/readiness"
)

const (
	// examineEvery is how often readiness is looked at.
	examineEvery = time.Hour
	// maxReported is how many findings the hub is told of, the worst first.
	maxReported = 100
	sinceFile   = "readiness.json"
	sinceFormat = 1
)

// errNoExamination says that readiness cannot be looked at on this system.
var errNoExamination = errors.New("readiness is not known on this system")

// since is what is kept of the findings, so that a restart does not make them new.
type since struct {
	Version int              `json:"version"`
	Since   map[string]int64 `json:"since"` // by the key of a finding: when it was first found, in seconds of Unix time
}

// examined is what a look has found.
type examined struct {
	findings      []readiness.Finding
	configuration []readiness.ConfigurationFile
}

// readinessWatch looks at the readiness of this machine and at its configuration every hour, and tells them.
type readinessWatch struct {
	dir     string // where since is kept
	look    func() (examined, error)
	changed func() // called when there is something else to tell than before
	now     func() time.Time
	log     *slog.Logger

	mu            sync.Mutex
	findings      []*farshorev1.ReadinessFinding
	configuration []readiness.ConfigurationFile
	looked        time.Time
}

// Run looks at once and then every hour, until ctx is done.
func (w *readinessWatch) Run(ctx context.Context) error {
	known, err := w.load()
	if err != nil {
		w.log.Warn("since when findings are there cannot be read; they count from now", "err", err)
	}
	tick := time.NewTicker(examineEvery)
	defer tick.Stop()
	for troubled := false; ; {
		next, err := w.once(known)
		if errors.Is(err, errNoExamination) {
			return nil
		}
		if next != nil { // even if it could not be kept
			known = next
		}
		if err != nil && !troubled {
			w.log.Warn("the readiness of this machine cannot be looked at, or not be kept", "err", err)
		}
		troubled = err != nil
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// once looks, and gives since when each finding is there. That is written only when other findings are there than before.
func (w *readinessWatch) once(known map[string]int64) (map[string]int64, error) {
	found, err := w.look()
	if err != nil {
		return nil, err
	}
	now := w.now()
	next := map[string]int64{}
	var messages []*farshorev1.ReadinessFinding
	same := true
	for _, f := range found.findings[:min(len(found.findings), maxReported)] {
		at, ok := known[f.Key()]
		if !ok {
			at, same = now.Unix(), false
		}
		next[f.Key()] = at
		messages = append(messages, findingMessage(f, at))
	}
	same = same && len(next) == len(known)
	w.mu.Lock()
	news := w.looked.IsZero() || !slices.Equal(found.configuration, w.configuration)
	w.findings, w.configuration, w.looked = messages, found.configuration, now
	w.mu.Unlock()
	if !same {
		err = w.save(next)
	}
	if !same || news {
		w.changed()
	}
	return next, err
}

// put adds what was found last to a report.
func (w *readinessWatch) put(o *farshorev1.AgentObserved) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.looked.IsZero() {
		o.Readiness, o.ReadinessUnix = w.findings, w.looked.Unix()
		for _, f := range w.configuration {
			o.Configuration = append(o.Configuration, &farshorev1.ConfigurationFile{Name: f.Name, Sha256: f.SHA256[:]})
		}
	}
}

func findingMessage(f readiness.Finding, since int64) *farshorev1.ReadinessFinding {
	m := &farshorev1.ReadinessFinding{
		Code: string(f.Code), Severity: string(f.Severity), Subject: f.Subject, What: f.What, Why: f.Why, Commands: f.Commands,
		Fixable: f.Fixable, SinceUnix: since,
	}
	for _, t := range f.Targets {
		m.Targets = append(m.Targets, string(t))
	}
	return m
}

func (w *readinessWatch) load() (map[string]int64, error) {
	content, err := os.ReadFile(filepath.Join(w.dir, sinceFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var kept since
	if err == nil {
		err = json.Unmarshal(content, &kept)
	}
	if err == nil && kept.Version != sinceFormat {
		err = fmt.Errorf("%s is of version %d, want %d", sinceFile, kept.Version, sinceFormat)
	}
	return kept.Since, err
}

func (w *readinessWatch) save(known map[string]int64) error {
	content, err := json.Marshal(since{sinceFormat, known})
	if err != nil {
		return fmt.Errorf("keep since when findings are there: %w", err)
	}
	if err := host.Write(filepath.Join(w.dir, sinceFile), content); err != nil {
		return fmt.Errorf("keep since when findings are there: %w", err)
	}
	return nil
}
