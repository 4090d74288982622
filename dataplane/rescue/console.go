package rescue

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// Console is every terminal on which the kernel speaks: screen and keyboard, and serial lines. What is written goes to all of
// them; whoever answers first is heard.
type Console struct {
	mu    sync.Mutex // a line is not cut by another
	ttys  []*os.File
	lines chan string
	asked sync.Mutex // one question at a time
}

// OpenConsole finds the terminals.
func OpenConsole() (*Console, error) {
	names, err := os.ReadFile("/sys/class/tty/console/active")
	if err != nil {
		return nil, stuck("find the console", err)
	}
	c := &Console{lines: make(chan string)}
	for name := range strings.FieldsSeq(string(names)) {
		if f, err := os.OpenFile("/dev/"+name, os.O_RDWR, 0); err == nil { // a screen may be missing
			c.ttys = append(c.ttys, f)
		}
	}
	if len(c.ttys) == 0 {
		return nil, stuck("open the console "+strings.TrimSpace(string(names)), nil)
	}
	return c, nil
}

// Run reads what is typed until ctx is done.
func (c *Console) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, tty := range c.ttys {
		g.Go(func() error {
			for lines := bufio.NewScanner(tty); lines.Scan(); {
				select {
				case c.lines <- strings.TrimSpace(lines.Text()):
				case <-ctx.Done():
					return nil
				}
			}
			return nil // a line that hangs up is one fewer to listen to
		})
	}
	g.Go(func() error {
		<-ctx.Done()
		for _, tty := range c.ttys {
			if err := tty.SetReadDeadline(past); err != nil && !errors.Is(err, os.ErrNoDeadline) {
				return err
			}
		}
		return nil
	})
	return g.Wait()
}

// Write writes to all terminals. One that does not take it has nobody in front of it.
func (c *Console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, tty := range c.ttys {
		_, _ = tty.Write(p) // see above
	}
	return len(p), nil
}

// Drain returns when everything that was written has left: a restart would cut it off.
func (c *Console) Drain() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, tty := range c.ttys {
		_ = unix.IoctlSetInt(int(tty.Fd()), unix.TCSBRK, 1) // tcdrain(3); see Write
	}
}

// Say writes lines.
func (c *Console) Say(format string, args ...any) {
	_, _ = fmt.Fprintf(c, format+"\n", args...) // it never fails
}

// Ask asks until somebody answers. Empty lines, and what was typed before, are no answers.
func (c *Console) Ask(ctx context.Context, question string) (string, error) {
	c.asked.Lock()
	defer c.asked.Unlock()
	for {
		c.Say("%s", question)
		line, err := c.Line(ctx)
		if line != "" || err != nil {
			return line, err
		}
	}
}

// Line waits for a line.
func (c *Console) Line(ctx context.Context) (string, error) {
	select {
	case line := <-c.lines:
		return line, nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
}
