package main

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// screen tells the story to whoever watches.
type screen struct {
	out      io.Writer
	live     bool // a terminal: a line can be written over
	began    time.Time
	chapters int
	growing  bool              // the last line has no end yet
	shown    map[string]string // how far each thing was when that was last written, where there is no terminal
}

func newScreen(out *os.File) *screen {
	info, err := out.Stat()
	return &screen{out: out, live: err == nil && info.Mode()&os.ModeCharDevice != 0, began: time.Now(), shown: map[string]string{}}
}

// chapter begins a part of the story.
func (s *screen) chapter(title string) {
	s.end()
	s.chapters++
	fmt.Fprintf(s.out, "\n%d. %s  (%s)\n", s.chapters, title, time.Since(s.began).Round(time.Second))
}

// say writes a line.
func (s *screen) say(format string, args ...any) {
	s.end()
	fmt.Fprintf(s.out, "   "+format+"\n", args...)
}

// progress says how far a thing is: on a terminal over the last line; elsewhere at each tenth of the total or, if that is not
// known, when there is something else to say.
func (s *screen) progress(what string, done, total uint64, said string) {
	line, far := what+"  "+said, said
	if total > 0 {
		line, far = what+"  "+bar(done, total)+"  "+said, strconv.FormatUint(min(done, total)*10/total, 10)
	}
	line = strings.TrimSpace(line)
	switch {
	case s.live:
		fmt.Fprintf(s.out, "\r\x1b[K   %s", line)
		s.growing = true
	case s.shown[what] != far:
		fmt.Fprintf(s.out, "   %s\n", line)
	}
	s.shown[what] = far
}

func (s *screen) end() {
	if s.growing {
		fmt.Fprintln(s.out)
		s.growing = false
	}
}

// table writes rows of two columns.
func (s *screen) table(rows [][2]string) {
	s.end()
	w := tabwriter.NewWriter(s.out, 0, 8, 2, ' ', 0)
	for _, r := range rows {
		fmt.Fprintf(w, "   %s\t%s\n", r[0], r[1])
	}
	// The table is the end of a story that was told already; a screen that is gone cannot be told so.
	w.Flush() //nolint:errcheck
}

const barWidth = 30

// bar draws how much of total is done.
func bar(done, total uint64) string {
	full := int(min(done, total) * barWidth / total)
	return "[" + strings.Repeat("=", full) + strings.Repeat(".", barWidth-full) + "]"
}
