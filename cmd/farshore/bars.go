package main

import (
	"io"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	farshorev1 "farshore/api/gen/farshore/v1"
)

const (
	barWidth   = 24
	barRefresh = 150 * time.Millisecond
)

// bars shows progress on a terminal: a line for what the run does, and under it a bar for each step.
type bars struct {
	progress *mpb.Progress

	mu   sync.Mutex // the bars are drawn by a goroutine of mpb's, which close waits for
	rows []*row
}

// row is one bar: the headline or a step.
type row struct {
	bar  *mpb.Bar
	name string
	now  string
	over bool
}

func newBars(w io.Writer) *bars {
	b := &bars{progress: mpb.New(mpb.WithOutput(w), mpb.WithWidth(barWidth), mpb.WithRefreshRate(barRefresh), mpb.WithAutoRefresh())}
	b.rows = append(b.rows, b.add(mpb.NopStyle()))
	return b
}

// add makes a bar that shows its row's name and state, whatever they are when it is drawn.
func (b *bars) add(drawing mpb.BarFillerBuilder) *row {
	r := &row{}
	read := func(field *string) decor.Decorator {
		return decor.Any(func(decor.Statistics) string {
			b.mu.Lock()
			defer b.mu.Unlock()
			return *field
		})
	}
	r.bar = b.progress.New(0, drawing, mpb.PrependDecorators(read(&r.name)), mpb.AppendDecorators(read(&r.now)))
	return r
}

func (b *bars) show(headline string, steps []*farshorev1.Step) {
	b.set(b.rows[0], headline, "")
	for i, s := range steps {
		if i+1 == len(b.rows) {
			b.rows = append(b.rows, b.add(measure{}))
		}
		r := b.rows[i+1]
		if r.over {
			continue
		}
		b.set(r, "  "+or(s.GetSummary(), s.GetName())+"  ", "  "+describe(s, false))
		if s.GetTotalBytes() > 0 {
			r.bar.SetTotal(int64(s.GetTotalBytes()), false)
			r.bar.SetCurrent(int64(s.GetDoneBytes()))
		}
		if s.GetStatus() == completed || s.GetStatus() == failed || s.GetStatus() == cancelled {
			r.over = true
			r.bar.Abort(false)
		}
	}
}

// measure draws a bar for a step that counts bytes, a spinner for one that does not, and nothing for one that is over.
type measure struct{}

// Build makes the drawing of one step.
func (measure) Build() mpb.BarFiller {
	bar, spinner := mpb.BarStyle().Build(), mpb.SpinnerStyle().PositionLeft().Build()
	return mpb.BarFillerFunc(func(w io.Writer, s decor.Statistics) error {
		switch {
		case s.Completed || s.Aborted:
			return nil
		case s.Total > 0:
			return bar.Fill(w, s)
		}
		return spinner.Fill(w, s)
	})
}

func (b *bars) set(r *row, name, now string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r.name, r.now = name, now
}

func (b *bars) say(line string) { b.set(b.rows[0], line, "") }

// close leaves the bars as they stand.
func (b *bars) close() {
	for _, r := range b.rows {
		r.bar.Abort(false)
	}
	b.progress.Wait()
}
