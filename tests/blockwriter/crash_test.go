package blockwriter

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// cut is a simulated power cut: the operations of a schedule up to some moment, of which only some reached the disk.
type cut struct {
	shape   Shape
	ops     []Op
	blocks  [][]byte // content of ops, one after another
	arrived []bool
}

const (
	testInstance = 0x1122334455667788
	testStarted  = 1_700_000_000_000
)

// cutAfter takes n operations; those that a power cut may lose are lost or not by chance.
func cutAfter(shape Shape, n int, random *rand.Rand) *cut {
	c := &cut{shape: shape}
	schedule, err := NewSchedule(shape)
	if err != nil {
		panic(err)
	}
	ledger := newLedger(shape, testInstance, testStarted)
	for range n {
		op := schedule.Next()
		content := make([]byte, op.Count*BlockSize)
		for i := range op.Count {
			ledger.enter(op, i).Encode(content[i*BlockSize : (i+1)*BlockSize])
		}
		c.ops, c.blocks, c.arrived = append(c.ops, op), append(c.blocks, content), append(c.arrived, true)
	}
	last := c.ops[n-1]
	for i, op := range c.ops {
		if op.Kind == Buffered && op.Barrier == last.Barrier && !last.Ends || i == n-1 {
			c.arrived[i] = random.IntN(2) == 0
		}
	}
	return c
}

// content applies what arrived: for each place the block, or nil.
func (c *cut) content() [][][]byte {
	var areas [][][]byte
	for area := range c.shape.Disks {
		areas = append(areas, make([][]byte, c.shape.locations(area)))
	}
	for n, op := range c.ops {
		for i := uint64(0); c.arrived[n] && i < op.Count; i++ {
			areas[op.Area][op.First+i] = c.blocks[n][i*BlockSize : (i+1)*BlockSize]
			if op.Kind == Remove {
				areas[op.Area][op.First] = nil
			}
		}
	}
	return areas
}

func image(places [][]byte) []byte {
	raw := make([]byte, len(places)*BlockSize)
	for i, block := range places {
		copy(raw[i*BlockSize:], block)
	}
	return raw
}

func (c *cut) verify(t *testing.T) Report {
	t.Helper()
	areas := c.content()
	if c.shape.Mode == ModeRaw {
		var disks []*io.SectionReader
		for _, places := range areas {
			raw := image(places)
			disks = append(disks, io.NewSectionReader(bytes.NewReader(raw), 0, int64(len(raw))))
		}
		r, err := VerifyDevices(disks, Question{})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	dir := t.TempDir()
	c.render(t, filepath.Join(dir, instanceName(testStarted, testInstance)), areas)
	r, err := VerifyDir(dir, Question{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (c *cut) render(t *testing.T, dir string, areas [][][]byte) {
	t.Helper()
	files := map[string][]byte{directRing: image(areas[AreaDirect]), bufferedRing: image(areas[AreaBuffered])}
	for slot, block := range areas[AreaFiles] {
		if block != nil {
			files[slotName(uint64(slot))] = block
		}
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, raw := range files {
		if err := os.WriteFile(filepath.Join(dir, name), raw, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// visible says whether the loss of operation n can be seen: its effect stands in some place at the end, and stood
// differently before.
func (c *cut) visible(n int) bool {
	with := c.content()
	c.arrived[n] = false
	without := c.content()
	c.arrived[n] = true
	for area := range with {
		for i := range with[area] {
			if !bytes.Equal(with[area][i], without[area][i]) {
				return true
			}
		}
	}
	return false
}

// removals are the slots whose file was being removed when the power was cut, or would have been next: that it is not there tells
// nobody that it never was.
func (c *cut) removals() map[uint64]bool {
	slots := map[uint64]bool{}
	for n, op := range c.ops {
		if op.Kind == Remove && !c.arrived[n] {
			slots[op.First] = true
		}
	}
	schedule, err := NewSchedule(c.shape)
	if err != nil {
		panic(err)
	}
	for range c.ops {
		schedule.Next()
	}
	for op := schedule.Next(); op.Kind != Direct; op = schedule.Next() {
		if op.Kind == Remove {
			slots[op.First] = true
		}
	}
	return slots
}

// onlyOne says whether there is no file in the slot without operation n.
func (c *cut) onlyOne(n int) bool {
	c.arrived[n] = false
	defer func() { c.arrived[n] = true }()
	return c.content()[c.ops[n].Area][c.ops[n].First] == nil
}

// settledOps lists operations that a power cut cannot lose and whose loss would show.
func (c *cut) settledOps(high uint64) []int {
	var barrier uint64
	for _, op := range c.ops {
		if op.Seq <= high {
			barrier = op.Barrier
		}
	}
	var list []int
	removals := c.removals()
	for n, op := range c.ops {
		durable := op.Last() < high
		if op.Kind == Buffered {
			durable = op.Barrier < barrier
		}
		if !durable || !c.arrived[n] || !c.visible(n) {
			continue
		}
		if op.Kind == Replace && removals[op.First] && c.onlyOne(n) { // its file may be gone by right
			continue
		}
		list = append(list, n)
	}
	return list
}

func eachCut(t *testing.T, rounds int, try func(t *testing.T, c *cut, random *rand.Rand)) {
	shapes := map[string]Shape{
		"one disk":    {Mode: ModeRaw, Span: 128, Disks: 1},
		"three disks": {Mode: ModeRaw, Span: 64, Disks: 3},
		"a directory": {Mode: ModeDir, Span: 96, Disks: dirAreas},
	}
	for name, shape := range shapes {
		t.Run(name, func(t *testing.T) {
			for range rounds {
				seed := rand.Uint64()
				random := rand.New(rand.NewPCG(seed, 1))
				shape.Seed = random.Uint64()
				c := cutAfter(shape, 2+random.IntN(150), random)
				if try(t, c, random); t.Failed() {
					t.Fatalf("seed %d", seed)
				}
			}
		})
	}
}

func TestEveryPowerCutIsAccepted(t *testing.T) {
	eachCut(t, 60, func(t *testing.T, c *cut, _ *rand.Rand) {
		r := c.verify(t)
		if !r.OK || !r.Found {
			t.Errorf("%d operations: %+v", len(c.ops), r)
		}
	})
}

// The file with the highest stamp was removed by the next operation that arrived: nothing shows that it was ever there.
func TestAFileThatWasReplacedAndRemovedAtOnceIsNoLoss(t *testing.T) {
	const seed = 14082329855944195924
	random := rand.New(rand.NewPCG(seed, 1))
	shape := Shape{Mode: ModeDir, Span: 96, Disks: dirAreas, Seed: random.Uint64()}
	c := cutAfter(shape, 2+random.IntN(150), random)
	n := len(c.ops)
	if replaced, removed := c.ops[n-4], c.ops[n-2]; replaced.Kind != Replace || removed.Kind != Remove || replaced.First != removed.First || !c.arrived[n-2] {
		t.Fatalf("the schedule ends with %+v", c.ops[n-4:])
	}
	if r := c.verify(t); !r.OK {
		t.Errorf("%+v", r)
	}
}

// A file that never arrived and one whose removal was under way leave the same.
func TestAFileThatWasBeingRemovedIsNoLoss(t *testing.T) {
	const seed = 17503514331022757054
	random := rand.New(rand.NewPCG(seed, 1))
	shape := Shape{Mode: ModeDir, Span: 96, Disks: dirAreas, Seed: random.Uint64()}
	c := cutAfter(shape, 2+random.IntN(150), random)
	last := c.ops[len(c.ops)-1]
	made := slices.IndexFunc(c.ops, func(op Op) bool { return op.Kind == Replace && op.First == last.First })
	if last.Kind != Remove || c.arrived[len(c.ops)-1] || made < 0 {
		t.Fatalf("the schedule ends with %+v", last)
	}
	if slices.Contains(c.settledOps(c.verify(t).LastSeq), made) {
		t.Error("it is taken for one whose loss shows")
	}
	c.arrived[made] = false
	if r := c.verify(t); !r.OK {
		t.Errorf("%+v", r)
	}
}

func TestADroppedWriteIsReported(t *testing.T) {
	eachCut(t, 40, func(t *testing.T, c *cut, random *rand.Rand) {
		before := c.verify(t)
		candidates := c.settledOps(before.LastSeq)
		if len(candidates) == 0 {
			return
		}
		dropped := candidates[random.IntN(len(candidates))]
		c.arrived[dropped] = false
		if r := c.verify(t); r.OK || r.Violations == 0 || len(r.Examples) == 0 {
			t.Errorf("operation %d %+v was dropped and nobody noticed: %+v", dropped, c.ops[dropped], r)
		}
	})
}

func TestADamagedBlockIsReported(t *testing.T) {
	eachCut(t, 40, func(t *testing.T, c *cut, random *rand.Rand) {
		candidates := c.settledOps(c.verify(t).LastSeq)
		if len(candidates) == 0 {
			return
		}
		n := candidates[random.IntN(len(candidates))]
		if c.ops[n].Kind == Remove {
			return
		}
		damaged := bytes.Clone(c.blocks[n])
		for at := random.IntN(BlockSize); at < len(damaged); at += BlockSize {
			damaged[at] ^= 1 << random.IntN(8)
		}
		c.blocks[n] = damaged
		if r := c.verify(t); r.OK {
			t.Errorf("operation %d %+v was damaged and nobody noticed: %+v", n, c.ops[n], r)
		}
	})
}

func TestABlockAtTheWrongPlaceIsReported(t *testing.T) {
	eachCut(t, 20, func(t *testing.T, c *cut, _ *rand.Rand) {
		for n, op := range c.ops {
			if op.Count > 1 && c.visible(n) {
				swapped := append(bytes.Clone(c.blocks[n][BlockSize:]), c.blocks[n][:BlockSize]...)
				c.blocks[n] = swapped
				// Where nothing else had been written, not one block is in its place: that is told as a place that was never written.
				if r := c.verify(t); r.OK && r.Found {
					t.Errorf("operation %+v: its blocks changed places and nobody noticed", op)
				}
				return
			}
		}
	})
}

func TestAScheduleFollowsFromItsShapeAlone(t *testing.T) {
	shape := Shape{Mode: ModeDir, Seed: 7, Span: 128, Disks: dirAreas}
	list := func() string {
		s, err := NewSchedule(shape)
		if err != nil {
			t.Fatal(err)
		}
		text := ""
		for range 500 {
			text += fmt.Sprintln(s.Next())
		}
		return text
	}
	first := list()
	if second := list(); first != second {
		t.Error("two schedules of one shape differ")
	}
	if shape.Seed++; first == list() {
		t.Error("two seeds give one schedule")
	}
}
