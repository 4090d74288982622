package service

import (
	"bytes"
	"context"
	"log/slog"
	"sync"
)

// Events is the event log of Windows.
type Events interface {
	Info(id uint32, text string) error
	Warning(id uint32, text string) error
	Error(id uint32, text string) error
}

// eventID is of every event: their text is their own, no table of messages belongs to it.
const eventID = 1

// NewLog writes facts to the event log, one event for each.
func NewLog(to Events) *slog.Logger {
	buffer := &bytes.Buffer{}
	return slog.New(&events{to: to, mu: &sync.Mutex{}, buffer: buffer, text: slog.NewTextHandler(buffer, &slog.HandlerOptions{ReplaceAttr: plain})})
}

// plain leaves out what every event has of its own: its time and its level.
func plain(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && (a.Key == slog.TimeKey || a.Key == slog.LevelKey) {
		return slog.Attr{}
	}
	return a
}

// events formats a record as text and gives it to the log by its level.
type events struct {
	to     Events
	mu     *sync.Mutex
	buffer *bytes.Buffer
	text   slog.Handler
}

func (e *events) Enabled(ctx context.Context, l slog.Level) bool { return e.text.Enabled(ctx, l) }

func (e *events) Handle(ctx context.Context, r slog.Record) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.buffer.Reset()
	if err := e.text.Handle(ctx, r); err != nil {
		return err
	}
	text := string(bytes.TrimRight(e.buffer.Bytes(), "\n"))
	switch {
	case r.Level >= slog.LevelError:
		return e.to.Error(eventID, text)
	case r.Level >= slog.LevelWarn:
		return e.to.Warning(eventID, text)
	}
	return e.to.Info(eventID, text)
}

func (e *events) WithAttrs(attrs []slog.Attr) slog.Handler {
	with := *e
	with.text = e.text.WithAttrs(attrs)
	return &with
}

func (e *events) WithGroup(name string) slog.Handler {
	with := *e
	with.text = e.text.WithGroup(name)
	return &with
}
