package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"farshore/fault"
	"farshore/tests/blockwriter"
)

const usage = `usage: blockwriter write|verify|replay [flags]; see blockwriter COMMAND -h`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	err := run(ctx, os.Args[1:], os.Stdout)
	if err == nil {
		return
	}
	fmt.Fprintln(os.Stderr, err)
	if f, ok := fault.As(err); ok {
		fmt.Fprintln(os.Stderr, "  "+f.Remedy)
		if f.Kind == fault.Refused {
			os.Exit(fault.ExitUsage)
		}
	}
	os.Exit(fault.ExitCode(err))
}

func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) == 0 {
		return misuse(usage)
	}
	switch args[0] {
	case "write":
		return write(ctx, args[1:])
	case "verify":
		return verify(args[1:], out)
	case "replay":
		return replay(args[1:])
	}
	return misuse(usage)
}

func misuse(what string) error {
	return &fault.Fault{
		Code: "FS-9001", Kind: fault.Refused, Subject: "blockwriter", What: what,
		Remedy: "run: blockwriter write -h, blockwriter verify -h or blockwriter replay -h",
	}
}

// list is a flag that may stand several times.
type list []string

// String joins the values for help texts.
func (l *list) String() string { return strings.Join(*l, ",") }

// Set adds a value.
func (l *list) Set(v string) error { *l = append(*l, v); return nil }

func parse(flags *flag.FlagSet, args []string) error {
	if err := flags.Parse(args); err != nil {
		return misuse(err.Error())
	}
	if flags.NArg() > 0 {
		return misuse(fmt.Sprintf("%q is left over", flags.Args()))
	}
	return nil
}

func write(ctx context.Context, args []string) error {
	var o blockwriter.Options
	flags := flag.NewFlagSet("write", flag.ContinueOnError)
	flags.StringVar(&o.Dir, "dir", "", "write inside this directory of a mounted file system")
	flags.Var((*list)(&o.Devices), "device", "write to this device or image file (repeat it for several disks)")
	flags.StringVar(&o.Log, "log", "", "append acknowledgements to this file, on another disk")
	flags.StringVar(&o.State, "state", "", "the state file (default: the log's name and .state)")
	flags.IntVar(&o.Rate, "rate", 100, "operations per second, 0 for as many as possible")
	flags.Int64Var(&o.RingBytes, "ring", blockwriter.DefaultRingBytes, "bytes of both ring files, with --dir")
	flags.Uint64Var(&o.Seed, "seed", uint64(time.Now().UnixNano()), "seed of the schedule")
	flags.Uint64Var(&o.Ops, "ops", 0, "end after so many operations, 0 for never")
	if err := parse(flags, args); err != nil {
		return err
	}
	w, err := blockwriter.New(o)
	if err != nil {
		return misuse(err.Error())
	}
	return runUnderSignals(ctx, w)
}

// runUnderSignals runs the writer and passes SIGUSR1 and SIGUSR2 on to it.
func runUnderSignals(ctx context.Context, w *blockwriter.Writer) error {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGUSR1, syscall.SIGUSR2)
	defer signal.Stop(signals)
	ctx, cancel := context.WithCancel(ctx)
	passed := make(chan struct{})
	go func() {
		defer close(passed)
		_ = pass(ctx, w, signals) // it can only report the end of ctx or an error that Run returns too
	}()
	err := w.Run(ctx)
	cancel()
	<-passed
	return err
}

func pass(ctx context.Context, w *blockwriter.Writer, signals <-chan os.Signal) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case s := <-signals:
			ask := w.Resume
			if s == syscall.SIGUSR1 {
				ask = w.Hold
			}
			if err := ask(ctx); err != nil {
				return err
			}
		}
	}
}

func verify(args []string, out io.Writer) error {
	var dir, log, by, format string
	var devices list
	flags := flag.NewFlagSet("verify", flag.ContinueOnError)
	flags.StringVar(&dir, "dir", "", "the directory to verify")
	flags.Var(&devices, "device", "the device or image file to verify (repeat it in the order of writing)")
	flags.StringVar(&log, "log", "", "the writer's log, to know what was lost")
	flags.StringVar(&by, "by", "", "count acknowledgements up to this time only (RFC 3339)")
	flags.StringVar(&format, "o", "text", "text, json, or console: one line beginning with "+blockwriter.ConsolePrefix)
	if err := parse(flags, args); err != nil {
		return err
	}
	if (dir == "") == (len(devices) == 0) {
		return misuse("name either --dir or --device")
	}
	q, err := question(log, by)
	if err != nil {
		return err
	}
	var report blockwriter.Report
	if dir != "" {
		report, err = blockwriter.VerifyDir(dir, q)
	} else {
		report, err = blockwriter.VerifyDevicePaths(devices, q)
	}
	if err != nil {
		return err
	}
	if err := show(out, report, format); err != nil {
		return err
	}
	if !report.OK {
		return &fault.Fault{
			Code: "FS-9301", Kind: fault.Corrupt, Subject: "blocks of instance " + report.Instance,
			What:   fmt.Sprintf("%d places contradict the order of writes", report.Violations),
			Remedy: "the disk is no state that a power cut could have left: do not offer it as a recovery point",
		}
	}
	return nil
}

func question(log, by string) (q blockwriter.Question, err error) {
	if by != "" {
		if q.By, err = time.Parse(time.RFC3339Nano, by); err != nil {
			return q, misuse(err.Error())
		}
	}
	if log != "" {
		q.Log, err = blockwriter.ReadLog(log)
	}
	return q, err
}

func show(out io.Writer, r blockwriter.Report, format string) error {
	switch format {
	case "json", "console":
		line, err := json.Marshal(r)
		if err != nil {
			return fmt.Errorf("encode the report: %w", err)
		}
		if format == "console" {
			line = append([]byte(blockwriter.ConsolePrefix), line...)
		}
		fmt.Fprintf(out, "%s\n", line)
		return nil
	case "text":
		fmt.Fprint(out, r)
		return nil
	}
	return misuse(fmt.Sprintf("-o %q is none of text, json, console", format))
}

func replay(args []string) error {
	var log string
	var outs list
	var upto uint64
	var size int64
	flags := flag.NewFlagSet("replay", flag.ContinueOnError)
	flags.StringVar(&log, "log", "", "the writer's log; its last instance is replayed")
	flags.Var(&outs, "out", "the image to make (repeat it for each disk)")
	flags.Uint64Var(&upto, "upto", 0, "the last sequence number to apply: the end of a logged operation")
	flags.Int64Var(&size, "size", 0, "size of each image in bytes")
	if err := parse(flags, args); err != nil {
		return err
	}
	runs, err := blockwriter.ReadLog(log)
	if err != nil {
		return err
	}
	if len(runs) == 0 {
		return misuse("the log holds no instance")
	}
	return blockwriter.Replay(runs[len(runs)-1], upto, size, outs)
}
