package qemu

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"farshore/fault"
	"farshore/tests/lab/need"
	"farshore/tests/lab/process"
)

const (
	// DefaultTimeout bounds [VM.WaitFor] when its context has no deadline: the lab's guest boots in half a minute on
	// an idle core, and tests share their cores.
	DefaultTimeout = 20 * time.Minute
	// startTimeout is how long QEMU itself may take to open its files.
	startTimeout = 3 * time.Minute
	// readEvery is how often the console is looked at.
	readEvery = 100 * time.Millisecond
	// quotedBytes is how much of the console an error quotes.
	quotedBytes = 1500
)

// VM is a machine that was booted.
type VM struct {
	machine  Machine
	child    *process.Process
	keyboard net.Conn // nil before anything is typed
	heard    chan struct{}
}

// Boot powers a machine on and returns when QEMU runs it. Stop must be called in the end; ctx bounds the start only.
func Boot(ctx context.Context, m Machine) (*VM, error) {
	if err := m.check(); err != nil {
		return nil, fmt.Errorf("boot a machine: %w", err)
	}
	if err := MissingFor(m.arch()); err != nil {
		return nil, err
	}
	args, err := m.arguments()
	if err != nil {
		return nil, fmt.Errorf("boot a machine: %w", err)
	}
	if err := m.prepare(ctx); err != nil {
		return nil, err
	}
	child, err := process.Start(ctx, process.Spec{
		Name: "virtual machine", Command: append([]string{programs[m.arch()]}, args...), LogPath: m.SerialLog + ".qemu",
		ReadyTimeout: startTimeout,
		Ready: func(context.Context) error { // QEMU makes it when it has understood its arguments
			_, err := os.Stat(m.SerialLog)
			return err
		},
	})
	if err != nil {
		return nil, fmt.Errorf("boot a machine: %w", err)
	}
	return &VM{machine: m, child: child}, nil
}

// prepare removes the traces of an earlier boot and gives the machine fresh UEFI variables.
func (m Machine) prepare(ctx context.Context) error {
	for _, path := range []string{m.SerialLog, m.SerialLog + ".qemu", m.ReportLog, m.keyboard()} {
		if path == "" {
			continue
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove the log of an earlier boot: %w", err)
		}
	}
	if m.Firmware != UEFI {
		return nil
	}
	if _, err := os.Stat(firmwareVars); err != nil {
		return &fault.Fault{
			Code: "FS-9303", Kind: fault.Operator, Subject: "a UEFI machine of the lab",
			What: "needs the firmware OVMF", Remedy: "run: sudo deploy/apt/install.sh", Err: err,
		}
	}
	if _, err := os.Stat(m.vars()); err == nil && m.Vars != "" {
		return nil
	}
	_, err := need.Run(ctx, "cp", firmwareVars, m.vars())
	return err
}

// Type types a line on the first serial port of a machine that somebody types on. The line stays plugged in until the machine is
// stopped: what was typed and not yet read would be lost with it.
func (vm *VM) Type(ctx context.Context, line string) error {
	if vm.keyboard == nil {
		var dialer net.Dialer
		conn, err := dialer.DialContext(ctx, "unix", vm.machine.keyboard())
		if err != nil {
			return fmt.Errorf("type on the console: %w", err)
		}
		vm.keyboard, vm.heard = conn, make(chan struct{})
		go func() { // a machine whose words nobody takes falls silent
			defer close(vm.heard)
			_, _ = io.Copy(io.Discard, conn) // they are in the log as well
		}()
	}
	if _, err := vm.keyboard.Write([]byte(line + "\r")); err != nil {
		return fmt.Errorf("type on the console: %w", err)
	}
	return nil
}

// WaitOff waits until the machine has switched itself off, or restarted: the lab's machines go off then.
func (vm *VM) WaitOff(ctx context.Context) error {
	tick := time.NewTicker(readEvery)
	defer tick.Stop()
	for vm.child.Running() {
		select {
		case <-ctx.Done():
			console, err := vm.Serial()
			return fmt.Errorf("wait for the machine to go off: %w; its console ends with:\n%s (%v)", ctx.Err(), quote(console), err)
		case <-tick.C:
		}
	}
	return nil
}

// WaitFor gives the first whole or growing line of the console that matches, without control characters.
func (vm *VM) WaitFor(ctx context.Context, pattern *regexp.Regexp) (string, error) {
	if _, bounded := ctx.Deadline(); !bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, DefaultTimeout)
		defer cancel()
	}
	tick := time.NewTicker(readEvery)
	defer tick.Stop()
	for {
		running := vm.child.Running() // asked before reading: what it printed last is not missed
		console, err := vm.Serial()
		if err != nil {
			return "", err
		}
		if line, ok := match(console, pattern); ok {
			return line, nil
		}
		if !running {
			return "", fmt.Errorf("wait for %q: the machine is off; its console ends with:\n%s\n%s", pattern, quote(console), vm.child.Tail())
		}
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("wait for %q: %w; the console ends with:\n%s", pattern, ctx.Err(), quote(console))
		case <-tick.C:
		}
	}
}

// Serial gives all that the first serial port has printed.
func (vm *VM) Serial() ([]byte, error) {
	raw, err := os.ReadFile(vm.machine.SerialLog)
	if err != nil {
		return nil, fmt.Errorf("read the console: %w", err)
	}
	return raw, nil
}

// escapes are terminal control sequences.
var escapes = regexp.MustCompile(`\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f]`)

// match looks for the pattern in the lines. The last one may still be growing, so a line that must be whole has to
// be asked for with a pattern that matches its end: a JSON report ends with "}", a prompt with ":".
func match(console []byte, pattern *regexp.Regexp) (string, bool) {
	for line := range bytes.Lines(console) {
		text := strings.TrimRight(escapes.ReplaceAllString(string(line), ""), "\n")
		if pattern.MatchString(text) {
			return text, true
		}
	}
	return "", false
}

func quote(console []byte) string {
	tail := console[max(0, len(console)-quotedBytes):]
	return escapes.ReplaceAllString(string(tail), "")
}

// Running says whether the machine is on.
func (vm *VM) Running() bool { return vm.child.Running() }

// CPU gives the processor time that the machine has used so far; it must be running.
func (vm *VM) CPU() (time.Duration, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", vm.child.PID()))
	if err != nil {
		return 0, fmt.Errorf("read the machine's processor time: %w", err)
	}
	// The name in parentheses may hold spaces; utime and stime are the 12th and 13th fields after it.
	fields := strings.Fields(string(raw[bytes.LastIndexByte(raw, ')')+1:]))
	var ticks int64
	for _, field := range fields[11:13] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read the machine's processor time: %w", err)
		}
		ticks += n
	}
	const ticksPerSecond = 100 // USER_HZ on x86
	return time.Duration(ticks) * time.Second / ticksPerSecond, nil
}

// Stop cuts the power. Calling it again does nothing.
func (vm *VM) Stop() {
	vm.child.Kill()
	if vm.keyboard != nil {
		_ = vm.keyboard.Close() // its other end is gone
		<-vm.heard
	}
}
