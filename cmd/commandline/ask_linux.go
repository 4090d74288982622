package commandline

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Terminal reports whether a person sits at the other end.
func Terminal(stream any) bool {
	f, ok := stream.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// Ask asks on a screen whether to go on and reads the answer from a terminal: y or yes is one. An interrupt ends the wait.
func Ask(ctx context.Context, in *os.File, screen io.Writer) (bool, error) {
	if _, err := fmt.Fprint(screen, "Go on? [y/N] "); err != nil {
		return false, fmt.Errorf("ask whether to go on: %w", err)
	}
	word, err := readWord(ctx, in)
	return word == "y" || word == "yes", err
}

// askEvery is how often a question looks whether it was interrupted.
const askEvery = 200 // milliseconds

// readWord reads a line, in lower case.
func readWord(ctx context.Context, in *os.File) (string, error) {
	answered := []unix.PollFd{{Fd: int32(in.Fd()), Events: unix.POLLIN}}
	for ctx.Err() == nil {
		n, err := unix.Poll(answered, askEvery)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return "", fmt.Errorf("wait for an answer: %w", err)
		}
		if n < 1 {
			continue
		}
		line, err := bufio.NewReader(in).ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return "", fmt.Errorf("read the answer: %w", err)
		}
		return strings.ToLower(strings.TrimSpace(line)), nil
	}
	return "", ctx.Err()
}
