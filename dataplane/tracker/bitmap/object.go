package bitmap

import (
	"bytes"
	_ "embed"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/rlimit"

	"farshore/dataplane/tracker/kernel"
)

//go:generate sh -c "clang -O2 -g -Wall -target bpf -mcpu=v3 -I/usr/include/$(uname -m)-linux-gnu -c track.bpf.c -o track.bpf.o && llvm-strip -g track.bpf.o"

//go:embed track.bpf.o
var object []byte

// maxDisks is MAX_DISKS of track.bpf.c.
const maxDisks = 256

// tracked, counters and flight are the structs of the same names in track.bpf.c.
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
}

type flight struct {
	Sector, Stamp                 uint64
	Bytes, Done                   uint32
	Index                         uint32
	Op, Several, Requeued, Unused uint8
}

// opDiscard is REQ_OP_DISCARD.
const opDiscard = 3

// tracepoints says what the programs expect.
var tracepoints = map[string]kernel.Tracepoint{
	"block_rq_issue":    {Arguments: 1, Struct: "request"},
	"block_rq_requeue":  {Arguments: 1, Struct: "request"},
	"block_rq_complete": {Arguments: 3, Struct: "request"},
}

// attachments lists the programs in the order of attaching: on_complete takes entries out of the table of flights, so
// whatever marks must run before it.
var attachments = []string{"on_discard", "on_complete", "on_requeue", "on_issue"}

// load puts the programs and maps, with a bitmap of the given words, into the kernel. Nothing is attached yet.
func load(words uint64) (*ebpf.Collection, error) {
	if err := rlimit.RemoveMemlock(); err != nil {
		return nil, fmt.Errorf("lift the limit of locked memory: %w", err)
	}
	types := btf.NewCache() // tens of megabytes: let go of with the end of this function
	if err := kernel.Check(types, tracepoints); err != nil {
		return nil, err
	}
	spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(object))
	if err != nil {
		return nil, fmt.Errorf("read the embedded programs: %w", err)
	}
	spec.Maps["dirty"].MaxEntries = uint32(words)
	loaded, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{Cache: types})
	if err != nil {
		return nil, fmt.Errorf("load the programs: %w", err)
	}
	return loaded, nil
}
