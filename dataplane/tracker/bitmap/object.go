package bitmap

import (
	"bytes"
	_ "embed"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/rlimit"
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

// arguments says what the programs expect of the tracepoints, and that the request comes first. It is decided by the
// kernel's BTF, never by its version: distributions bring changes back, and the verifier accepts a wrong first argument.
var arguments = map[string]int{"block_rq_issue": 1, "block_rq_requeue": 1, "block_rq_complete": 3}

// attachments lists the programs in the order of attaching: on_complete takes entries out of the table of flights, so
// whatever marks must run before it.
var attachments = []string{"on_discard", "on_complete", "on_requeue", "on_issue"}

// load puts the programs and maps, with a bitmap of the given words, into the kernel. Nothing is attached yet.
func load(words uint64) (*ebpf.Collection, error) {
	if err := rlimit.RemoveMemlock(); err != nil {
		return nil, fmt.Errorf("lift the limit of locked memory: %w", err)
	}
	types := btf.NewCache() // tens of megabytes: let go of with the end of this function
	if err := checkTracepoints(types); err != nil {
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

func checkTracepoints(types *btf.Cache) error {
	kernel, err := types.Kernel()
	if err != nil {
		return fmt.Errorf("read the kernel's types (BTF): %w", err)
	}
	for name, want := range arguments {
		var def *btf.Typedef
		if err := kernel.TypeByName("btf_trace_"+name, &def); err != nil {
			return fmt.Errorf("find tracepoint %s: %w", name, err)
		}
		if got, first := prototype(def); got != want || first != "request" {
			return fmt.Errorf("tracepoint %s has %d arguments, the first a %s; want %d, the first a request", name, got, first, want)
		}
	}
	return nil
}

// prototype counts a tracepoint's arguments and names the struct that the first points to.
func prototype(def *btf.Typedef) (n int, first string) {
	pointer, ok := def.Type.(*btf.Pointer)
	if !ok {
		return 0, "nothing"
	}
	function, ok := pointer.Target.(*btf.FuncProto)
	if !ok || len(function.Params) < 2 { // the very first is the tracepoint's own
		return 0, "nothing"
	}
	if to, ok := function.Params[1].Type.(*btf.Pointer); ok {
		return len(function.Params) - 1, to.Target.TypeName()
	}
	return len(function.Params) - 1, function.Params[1].Type.TypeName()
}
