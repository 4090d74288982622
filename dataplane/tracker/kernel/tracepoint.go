package kernel

import (
	"fmt"

	"github.com/cilium/ebpf/btf"
)

// Tracepoint is what a program expects of a tracepoint: how many arguments it has, and that the one at a place, counted
// from 0, is a pointer to a struct.
type Tracepoint struct {
	Arguments int
	At        int
	Struct    string
}

// Check compares the tracepoints with the kernel's types. Whether a program fits is decided by these and never by the
// version: distributions bring changes back, and the verifier accepts a wrong first argument.
func Check(types *btf.Cache, want map[string]Tracepoint) error {
	kernel, err := types.Kernel()
	if err != nil {
		return fmt.Errorf("read the kernel's types (BTF): %w", err)
	}
	for name, w := range want {
		var def *btf.Typedef
		if err := kernel.TypeByName("btf_trace_"+name, &def); err != nil {
			return fmt.Errorf("find tracepoint %s: %w", name, err)
		}
		if n, got := prototype(def, w.At); n != w.Arguments || got != w.Struct {
			return fmt.Errorf("tracepoint %s has %d arguments, number %d a %s; want %d, and a %s", name, n, w.At, got, w.Arguments, w.Struct)
		}
	}
	return nil
}

// HasHelper reports whether the kernel knows a helper function, by its name in enum bpf_func_id ("BPF_FUNC_loop").
func HasHelper(types *btf.Cache, name string) (bool, error) {
	kernel, err := types.Kernel()
	if err != nil {
		return false, fmt.Errorf("read the kernel's types (BTF): %w", err)
	}
	var helpers *btf.Enum
	if err := kernel.TypeByName("bpf_func_id", &helpers); err != nil {
		return false, fmt.Errorf("list the helpers of the kernel: %w", err)
	}
	for _, v := range helpers.Values {
		if v.Name == name {
			return true, nil
		}
	}
	return false, nil
}

// prototype counts a tracepoint's arguments and names the struct that one of them points to.
func prototype(def *btf.Typedef, at int) (n int, name string) {
	pointer, ok := def.Type.(*btf.Pointer)
	if !ok {
		return 0, "nothing"
	}
	function, ok := pointer.Target.(*btf.FuncProto)
	if !ok || len(function.Params) < at+2 { // the very first is the tracepoint's own
		return 0, "nothing"
	}
	n, one := len(function.Params)-1, function.Params[at+1].Type
	if to, ok := one.(*btf.Pointer); ok {
		return n, to.Target.TypeName()
	}
	return n, one.TypeName()
}
