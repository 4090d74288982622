package main

import (
	"io"
	"os"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/sys/unix"
)

// progress is a bar on standard error, if that is a terminal; otherwise it is silent.
type progress struct {
	bars *mpb.Progress
	bar  *mpb.Bar
}

// newProgress begins a bar over bytes.
func newProgress(w io.Writer, what string, bytes int64) *progress {
	f, ok := w.(*os.File)
	if !ok || bytes == 0 {
		return &progress{}
	}
	if _, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS); err != nil {
		return &progress{}
	}
	bars := mpb.New(mpb.WithOutput(f), mpb.WithWidth(40))
	bar := bars.AddBar(bytes,
		mpb.PrependDecorators(decor.Name(what+" "), decor.CountersKibiByte("% .1f of % .1f")),
		mpb.AppendDecorators(decor.Percentage(), decor.Name("  "), decor.AverageETA(decor.ET_STYLE_GO)))
	return &progress{bars: bars, bar: bar}
}

func (p *progress) add(bytes int64) {
	if p.bar != nil {
		p.bar.IncrInt64(bytes)
	}
}

// end leaves the bar as it stands.
func (p *progress) end() {
	if p.bar != nil {
		p.bar.Abort(false)
		p.bars.Wait()
	}
}
