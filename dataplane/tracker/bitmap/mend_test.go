package bitmap

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"farshore/dataplane/block"
	"farshore/dataplane/disk/disktest"
)

// Whoever cleans up in the bpf file system takes away what keeps tracking alive behind the agent's death.
func TestWhatIsNotPinnedAnyMoreIsPinnedAgainAndNothingIsMissed(t *testing.T) {
	eachForm(t, pinnedAgain)
}

func pinnedAgain(t *testing.T, f *form) {
	for name, take := range map[string]func(t *testing.T, pinDir, set string){
		"one link":    func(_ *testing.T, _, set string) { must(0, os.Remove(filepath.Join(set, "on_complete"))) },
		"one map":     func(_ *testing.T, _, set string) { must(0, os.Remove(filepath.Join(set, "dirty"))) },
		"everything":  func(_ *testing.T, pinDir, _ string) { must(0, os.RemoveAll(pinDir)) },
		"file system": func(_ *testing.T, pinDir, _ string) { must(0, unix.Unmount(filepath.Dir(pinDir), unix.MNT_DETACH)) },
	} {
		t.Run(name, func(t *testing.T) {
			pinDir := needBPF(t)
			loop := disktest.NewLoop(t, 16<<20)
			first := open(t, f, pinDir, target(t, "a", loop))
			era := first.Disk("a").Era()
			if what, err := first.Mend(); len(what) > 0 || err != nil {
				t.Fatalf("whole: mended %v, %v", what, err)
			}
			take(t, pinDir, first.sets[0].dir)
			what, err := first.Mend()
			if len(what) == 0 || err != nil {
				t.Fatalf("mended %v, %v", what, err)
			}
			if gap, err := first.Disk("a").Check(true); gap != "" || err != nil {
				t.Errorf("Check = %q, %v; want no gap", gap, err)
			}
			if err := first.Close(); err != nil {
				t.Fatal(err)
			}
			if err := write(loop.Node(), 4096, 4096); err != nil { // while nobody has it open
				t.Fatal(err)
			}
			second := open(t, f, pinDir, target(t, "a", loop))
			if got := second.Disk("a").Era(); got != era {
				t.Errorf("era %s, want %s: tracking went on", got, era)
			}
			if got := changes(t, second.Disk("a")); !got.Equal(block.SetOf(block.Extent{Start: 8, Count: 8})) {
				t.Errorf("changed %v, want 8 sectors at 8", got)
			}
		})
	}
}
