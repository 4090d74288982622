//go:build linux && amd64

package capture

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/rlimit"

	"farshore/dataplane/tracker/kernel"
)

//go:generate sh -c "clang -O2 -g -Wall -target bpf -mcpu=v3 -ffile-prefix-map=$PWD=. -I/usr/include/$(uname -m)-linux-gnu -c capture.bpf.c -o capture.bpf.o && llvm-strip -g capture.bpf.o"

//go:embed capture.bpf.o
var object []byte

// Constants of capture.bpf.c.
const (
	maxDisks   = 256
	opWrite    = 1
	opZeroes   = 9
	opFailed   = 255
	flagOwn    = 1
	headBytes  = 56
	pieceBytes = 4096
)

// captured, state, entered, bucket and flight are the structs of the same names in capture.bpf.c.
type captured struct {
	Base, Mask, Ranges, Index uint32
	Begun                     uint64
}

type state struct {
	recording, base, own uint64
	cookie               [16]byte
	traced, scratch      uint64

	lost, firstLoss, lastLoss, unrecorded uint64
	faults, remapped, early               uint64
	calls, caller                         uint64
}

type entered struct{ written, discarded uint64 }

type bucket struct {
	sectors int64
	birth   uint64
}

type flight struct {
	Sector     uint64
	Bytes      uint32
	Index      uint16
	Op, Unused uint8
}

// heading is struct piece of capture.bpf.c without its data.
type heading struct {
	bio, sector         uint64
	begun, stamp, since uint64
	size, at, length    uint32
	disk                uint16
	op, flags           uint8
}

// tracepoints says what the programs expect.
var tracepoints = map[string]kernel.Tracepoint{
	"block_bio_queue":    {Arguments: 1, Struct: "bio"},
	"block_bio_complete": {Arguments: 2, At: 1, Struct: "bio"},
	"block_bio_remap":    {Arguments: 3, Struct: "bio"},
	"block_rq_issue":     {Arguments: 1, Struct: "request"},
	"block_rq_complete":  {Arguments: 3, Struct: "request"},
	"block_dirty_buffer": {Arguments: 1, Struct: "buffer_head"},
}

// attachments lists the programs in the order of attaching, all but calibrate. What ends a write comes before what begins
// it; a bucket is emptied (on_complete) when everything else has been done for the request.
var attachments = []string{"on_complete", "on_bio_complete", "on_remap", "on_issue", "on_queue"}

// load puts the programs and maps into the kernel. Nothing is attached yet.
func load(ringBytes, buckets uint32) (*ebpf.Collection, uint64, error) {
	if err := rlimit.RemoveMemlock(); err != nil {
		return nil, 0, fmt.Errorf("lift the limit of locked memory: %w", err)
	}
	if body, err := os.ReadFile("/sys/kernel/security/lockdown"); err == nil && strings.Contains(string(body), "[confidentiality]") {
		return nil, 0, errors.New("lockdown=confidentiality forbids reading the kernel's memory")
	}
	types := btf.NewCache() // tens of megabytes: let go of with the end of this function
	loops, err := kernel.HasHelper(types, "BPF_FUNC_loop")
	if err != nil {
		return nil, 0, err
	}
	if !loops {
		return nil, 0, errors.New("the kernel has no bpf_loop (5.17)")
	}
	if err := kernel.Check(types, tracepoints); err != nil {
		return nil, 0, err
	}
	if err := checkPage(types); err != nil {
		return nil, 0, err
	}
	spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(object))
	if err != nil {
		return nil, 0, fmt.Errorf("read the embedded programs: %w", err)
	}
	spec.Maps["ring"].MaxEntries, spec.Maps["pending"].MaxEntries = ringBytes, buckets
	loaded, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{Cache: types})
	if err != nil {
		return nil, 0, fmt.Errorf("load the programs: %w", err)
	}
	return loaded, tracedFlag(types), nil
}

// checkPage looks whether the address of a page's bytes can be computed from the address of its struct page.
func checkPage(types *btf.Cache) error {
	kernelTypes, err := types.Kernel()
	if err != nil {
		return fmt.Errorf("read the kernel's types (BTF): %w", err)
	}
	var page *btf.Struct
	if err := kernelTypes.TypeByName("page", &page); err != nil {
		return fmt.Errorf("find struct page: %w", err)
	}
	if page.Size == 0 || pieceBytes%page.Size != 0 {
		return fmt.Errorf("struct page has %d bytes, which does not divide a page", page.Size)
	}
	return nil
}

// tracedFlag finds the flag of bios whose queueing has been traced, in an enum that has no name. 0 if there is none.
func tracedFlag(types *btf.Cache) uint64 {
	kernelTypes, err := types.Kernel()
	if err != nil {
		return 0
	}
	for typ, err := range kernelTypes.All() {
		enum, ok := typ.(*btf.Enum)
		if err != nil || !ok || enum.Name != "" {
			continue
		}
		for _, v := range enum.Values {
			if v.Name == "BIO_TRACE_COMPLETION" {
				return 1 << v.Value
			}
		}
	}
	return 0
}
