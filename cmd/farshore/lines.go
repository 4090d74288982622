package main

import (
	"fmt"
	"time"

	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/cmd/commandline"
	"farshore/dataplane/hub"
)

// shareEvery is the share of a step's bytes, in percent, after which a line says how far it is.
const shareEvery = 10

// screen chooses how to show progress: bars on a terminal, lines elsewhere. With -o json only a terminal sees progress:
// what is not a terminal may want to read stderr as JSON.
func (t *tool) screen() screen {
	if commandline.Terminal(t.talk) {
		return newBars(t.talk)
	}
	return &lines{print: t.say, seen: map[int]string{}}
}

// lines shows progress in lines: one for each change of a step.
type lines struct {
	print    func(format string, args ...any)
	headline string
	seen     map[int]string // by place of the step: what was said of it last
}

func (l *lines) show(headline string, steps []*farshorev1.Step) {
	if l.headline != headline {
		l.headline = headline
		l.print("%s", headline)
	}
	for i, s := range steps {
		if now := describe(s, true); l.seen[i] != now {
			l.seen[i] = now
			l.print("  %s: %s", or(s.GetSummary(), s.GetName()), now)
		}
	}
}

func (l *lines) say(line string) { l.print("%s", line) }

func (l *lines) close() {}

// describe says how a step is. A coarse description changes seldom enough to be a line each time.
func describe(s *farshorev1.Step, coarse bool) string {
	words := s.GetStatus()
	switch s.GetStatus() {
	case completed:
		if s.GetClosedUnix() > 0 && s.GetStartedUnix() > 0 {
			words = "done after " + span(time.Duration(s.GetClosedUnix()-s.GetStartedUnix())*time.Second)
		}
	case running:
		words = or(s.GetProgress(), running)
		if s.GetTotalBytes() > 0 {
			words += ", " + share(s, coarse)
		}
	}
	if f := hub.Fault(s.GetFault()); f != nil {
		words += fmt.Sprintf(", attempt %d after %s", s.GetAttempt(), f.Error())
	}
	return words
}

// share says how much of a step's bytes are done.
func share(s *farshorev1.Step, coarse bool) string {
	percent := s.GetDoneBytes() * 100 / s.GetTotalBytes()
	if coarse {
		percent -= percent % shareEvery
		return fmt.Sprintf("%d %% of %s", percent, commandline.Size(s.GetTotalBytes()))
	}
	return fmt.Sprintf("%d %% (%s of %s)", percent, commandline.Size(s.GetDoneBytes()), commandline.Size(s.GetTotalBytes()))
}
