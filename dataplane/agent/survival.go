package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"farshore/dataplane/block"
	"farshore/dataplane/host"
	"farshore/fault"
)

// lookEvery bounds how often what others may take away is looked after.
const lookEvery = time.Second

// lookAround looks after what the agent stands on: its clock, its run directory, and the pins of its trackers.
func (s *sending) lookAround() error {
	now := s.agent.deps.Now()
	if now.Before(s.looked) {
		s.clockSetBack(now)
	}
	if now.Sub(s.looked) < lookEvery {
		return nil
	}
	s.looked = now
	mended, err := s.trackers.Mend()
	if err != nil {
		return err
	}
	if len(mended) > 0 {
		s.agent.deps.Log.Warn("tracking was pinned again: somebody had removed its pins", "pins", strings.Join(mended, " "))
	}
	return s.rescue()
}

// clockSetBack brings every time that lies in the future back to now: nothing waits for a clock that was wrong to be right.
func (s *sending) clockSetBack(now time.Time) {
	s.agent.deps.Log.Info("the clock was set back", "by", s.looked.Sub(now))
	for _, t := range []*time.Time{&s.looked, &s.reported, &s.lastTry, &s.lastApp} {
		if t.After(now) {
			*t = now
		}
	}
}

// rescue writes the run directory anew where somebody has removed it or some of it. The bitmaps are still in memory, so
// nothing was missed.
func (p *protection) rescue() error {
	dir := p.agent.deps.RunDir
	var gone []string
	for _, s := range p.sources {
		for name := range s.files() {
			if absent(s.path(dir, name)) {
				gone = append(gone, filepath.Base(s.path(dir, name)))
			}
		}
	}
	if absent(filepath.Join(dir, runFile)) {
		gone = append(gone, runFile)
	}
	if len(gone) == 0 {
		return nil
	}
	if err := host.MakePrivate(dir); err != nil {
		return fmt.Errorf("make the run directory again: %w", err)
	}
	for _, s := range p.sources {
		for name, b := range s.files() {
			if err := s.rewrite(s.path(dir, name), b); err != nil {
				return err
			}
		}
	}
	p.agent.deps.Log.Warn("the run directory was written anew: somebody had removed what was in it", "files", len(gone), "first", gone[0])
	return p.save()
}

// rewrite puts a bitmap whose file is gone into a new file.
func (s *source) rewrite(path string, b **bitset) error {
	if !absent(path) {
		return nil
	}
	again, err := openBitset(path, block.Count((*b).sectors))
	if err != nil {
		return err
	}
	again.union(*b)
	old := *b
	*b = again
	return old.close()
}

func absent(path string) bool {
	_, err := os.Stat(path)
	return errors.Is(err, fs.ErrNotExist)
}

// files gives the bitmaps that outlive this process, by the ends of their files' names.
func (s *source) files() map[string]**bitset {
	return map[string]**bitset{
		"base": &s.base, "free": &s.free, "doubt": &s.doubt, "healing": &s.healing, "unspecified": &s.unspecified,
		"0": &s.kept[0], "1": &s.kept[1], "2": &s.kept[2], "3": &s.kept[3],
	}
}

func (s *source) path(runDir, name string) string {
	return filepath.Join(runDir, fmt.Sprintf("%s.%s", s.id, name))
}

// copies counts a full copy that is begun, and says why where the disk had been copied before.
func (p *protection) copies(s *source, why string, again bool) {
	bytes := s.base.bytes(0)
	p.agent.owes(why)
	p.agent.note(func(o *Observed) { o.Copies, o.CopyWhy = o.Copies+1, why })
	if !again {
		p.agent.deps.Log.Info("the whole disk is owed", "disk", s.id, "bytes", bytes, "why", why)
		return
	}
	f := &fault.Fault{
		Code: "FS-1006", Kind: fault.Transient, Subject: "disk " + string(s.id),
		What:   fmt.Sprintf("changes may have been missed, so its %d bytes are resynced: %s", bytes, why),
		Remedy: "nothing; points made before stay good, new ones follow when the resync is done",
	}
	if p.agent.blame(atTracker, f) {
		p.agent.deps.Log.Warn("a disk is copied again", "disk", s.id, "bytes", bytes, "why", why)
	}
}
