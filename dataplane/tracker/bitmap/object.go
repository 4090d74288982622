package bitmap

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/rlimit"

	"farshore/dataplane/tracker/kernel"
)

//go:generate sh -c "clang -O2 -g -Wall -target bpf -mcpu=v3 -ffile-prefix-map=$PWD=. -I/usr/include/$(uname -m)-linux-gnu -c track.bpf.c -o track.bpf.o && llvm-strip -g track.bpf.o"
//go:generate sh -c "clang -O2 -g -Wall -target bpf -mcpu=v3 -ffile-prefix-map=$PWD=. -DBYTES -I/usr/include/$(uname -m)-linux-gnu -c track.bpf.c -o bytes.bpf.o && llvm-strip -g bytes.bpf.o"

//go:embed track.bpf.o
var bitObject []byte

//go:embed bytes.bpf.o
var byteObject []byte

// form is one of the two ways in which the programs mark blocks. Both give the same marks.
type form struct {
	name      string
	object    []byte
	perWord   uint64 // blocks that a word of the map dirty stands for
	maxBlocks uint64 // the granularity of a disk doubles until it has no more
	maps      []string
}

// The forms. A byte for each block needs eight times the memory: 64 MiB, which is 256 GiB at 4 KiB; a bit, 32 MiB, which is
// 1 TiB.
var (
	bits   = &form{"bits", bitObject, 64, 1 << 28, []string{"disks", "dirty", "counts", "flights"}}
	octets = &form{"bytes", byteObject, 8, 1 << 26, []string{"disks", "dirty", "counts", "flights", "ranges"}}
)

// chooseForm asks the kernel for bpf_loop; all kernels that have it have an atomic or.
func chooseForm(types *btf.Cache) (*form, error) {
	loops, err := kernel.HasHelper(types, "BPF_FUNC_loop")
	if err != nil {
		return nil, err
	}
	if loops {
		return bits, nil
	}
	return octets, nil
}

// maxDisks is MAX_DISKS of track.bpf.c.
const maxDisks = 256

// tracked, counters, changed and flight are the structs of the same names in track.bpf.c.
type tracked struct {
	Base, Blocks       uint64
	Shift, Index       uint32
	Sectors            uint64
	Written, Discarded uint64
	Era                [16]byte
	Sequence           [48]byte
	ID                 [64]byte
}

type counters struct {
	Written, Discarded             uint64
	HealedWritten, HealedDiscarded uint64
	Passthrough, Unplaced          uint64
	Outside, Crowded               uint64
	Spilled                        uint64
}

type changed struct {
	First, Last   uint64
	Index, Unused uint32
}

type flight struct {
	Sector, Stamp                 uint64
	Bytes, Done                   uint32
	Index                         uint32
	Op, Several, Requeued, Unused uint8
}

// opDiscard is REQ_OP_DISCARD.
const opDiscard = 3

// tracepoints says what the programs expect. A program with "_q" at its end is for kernels where the queue comes first.
var tracepoints = map[string]map[string]kernel.Tracepoint{
	"on_issue": {
		"on_issue":   {Arguments: 1, Struct: "request"},
		"on_issue_q": {Arguments: 2, At: 1, Struct: "request"},
	},
	"on_requeue": {
		"on_requeue":   {Arguments: 1, Struct: "request"},
		"on_requeue_q": {Arguments: 2, At: 1, Struct: "request"},
	},
	"on_complete": {"on_complete": {Arguments: 3, Struct: "request"}},
	"on_discard":  {"on_discard": {Arguments: 3, Struct: "request"}},
}

// attachedTo names the tracepoint of each program.
var attachedTo = map[string]string{
	"on_issue": "block_rq_issue", "on_requeue": "block_rq_requeue", "on_complete": "block_rq_complete", "on_discard": "block_rq_complete",
}

// attachments lists the programs in the order of attaching: on_complete takes entries out of the table of flights, so
// whatever marks must run before it.
var attachments = []string{"on_discard", "on_complete", "on_requeue", "on_issue"}

// load puts the programs and maps of a form, with a bitmap of the given words, into the kernel. Nothing is attached yet.
// The programs of the collection are called as in attachments, whichever variant was taken.
func (f *form) load(types *btf.Cache, words uint64) (*ebpf.Collection, error) {
	if err := rlimit.RemoveMemlock(); err != nil {
		return nil, fmt.Errorf("lift the limit of locked memory: %w", err)
	}
	spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(f.object))
	if err != nil {
		return nil, fmt.Errorf("read the embedded programs: %w", err)
	}
	fitting := map[string]*ebpf.ProgramSpec{}
	for _, name := range attachments {
		variant, err := fit(types, name)
		if err != nil {
			return nil, err
		}
		fitting[name] = spec.Programs[variant]
	}
	spec.Programs = fitting
	spec.Maps["dirty"].MaxEntries = uint32(words)
	loaded, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{Cache: types})
	if err != nil {
		return nil, fmt.Errorf("load the programs: %w", err)
	}
	return loaded, nil
}

// fit gives the variant of a program that fits the kernel's tracepoint.
func fit(types *btf.Cache, name string) (variant string, err error) {
	for variant, want := range tracepoints[name] {
		one := kernel.Check(types, map[string]kernel.Tracepoint{attachedTo[name]: want})
		if one == nil {
			return variant, nil
		}
		err = errors.Join(err, one)
	}
	return "", err
}
