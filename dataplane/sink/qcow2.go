package sink

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"farshore/fault"
)

const (
	qemuPatience = 30 * time.Second // for qemu-nbd to open the image, and to end
	qemuPause    = 20 * time.Millisecond
	maxZero      = 1 << 30 // bytes of one request
)

// qcow2 is an image that a qemu-nbd of our own has open. It ends with the connection, so also when this process is killed.
type qcow2 struct {
	*nbdClient
	lock *os.File
	cmd  *exec.Cmd
	dir  string // of the socket
	said *strings.Builder
}

// openQCOW2 takes an image, made here if it is not there.
func openQCOW2(ctx context.Context, s Sink) (_ opened, err error) {
	if _, err := exec.LookPath("qemu-nbd"); err != nil {
		return opened{}, qemuFault(s, "qemu-nbd is not there", err)
	}
	blank := false
	if st, err := os.Lstat(s.Path); errors.Is(err, fs.ErrNotExist) || err == nil && st.Mode().IsRegular() && st.Size() == 0 {
		out, err := exec.CommandContext(ctx, "qemu-img", "create", "-q", "-f", "qcow2", s.Path, strconv.FormatInt(s.Sectors.Bytes(), 10)).CombinedOutput()
		if err != nil {
			return opened{}, qemuFault(s, "the image cannot be made: "+strings.TrimSpace(string(out)), err)
		}
		blank = true
	}
	lock, err := os.OpenFile(s.Path, os.O_RDWR|unix.O_NOFOLLOW, 0)
	if err != nil {
		return opened{}, unusableFile(s, err)
	}
	q := &qcow2{lock: lock, said: &strings.Builder{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, q.Close())
		}
	}()
	identity, err := takeFile(s, lock)
	if err != nil {
		return opened{}, err
	}
	if err := q.serve(ctx, s.Path); err != nil {
		return opened{}, qemuFault(s, "qemu-nbd did not open the image: "+strings.TrimSpace(q.said.String()), err)
	}
	if q.size < s.Sectors.Bytes() {
		return opened{}, refused("FS-4105", s, fmt.Sprintf("it has %d bytes, the machine's disk has %d", q.size, s.Sectors.Bytes()),
			"enlarge it: qemu-img resize "+s.Path)
	}
	return opened{medium: q, identity: identity, blank: blank}, nil
}

func qemuFault(s Sink, what string, err error) error {
	return &fault.Fault{
		Code: "FS-4112", Kind: fault.Operator, Subject: s.subject(), What: what, Remedy: "install qemu-utils; check the image: qemu-img check " + s.Path, Err: err,
	}
}

// serve starts qemu-nbd and connects to it. One of a former process may be about to end and hold the image still.
func (q *qcow2) serve(ctx context.Context, path string) (err error) {
	if q.dir, err = os.MkdirTemp("", "farshore-nbd-"); err != nil {
		return err
	}
	for limit := time.Now().Add(qemuPatience); ; {
		q.said.Reset()
		err := q.try(ctx, path, limit)
		if err == nil {
			return nil
		}
		err = errors.Join(err, q.end()) // what it said is there when it has ended
		if ctx.Err() != nil || time.Now().After(limit) || !strings.Contains(q.said.String(), "lock") {
			return err
		}
		time.Sleep(qemuPause)
	}
}

func (q *qcow2) try(ctx context.Context, path string, limit time.Time) error {
	socket := filepath.Join(q.dir, "s")
	cmd := exec.Command("qemu-nbd", "--format=qcow2", "--socket="+socket, "--cache=writeback", "--discard=unmap", path) //nolint:noctx // it ends with the connection
	cmd.Stderr = q.said
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // if we die before it has a client
	if err := cmd.Start(); err != nil {
		return err
	}
	q.cmd = cmd
	for {
		conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
		if err == nil {
			if q.nbdClient, err = nbdConnect(conn); err != nil {
				err = errors.Join(err, conn.Close())
			}
			return err
		}
		if ctx.Err() != nil || time.Now().After(limit) || q.gone() {
			return err
		}
		time.Sleep(qemuPause)
	}
}

// end sees that qemu-nbd is no more, and takes what it said.
func (q *qcow2) end() error {
	if q.cmd == nil {
		return nil
	}
	var err error
	if q.nbdClient == nil { // it waits for a client that does not come
		err = ignoreGone(q.cmd.Process.Kill())
	}
	q.cmd.Wait() //nolint:errcheck // how it ends says nothing: all that was flushed is on stable storage
	q.cmd = nil
	return err
}

// gone reports whether the process has ended.
func (q *qcow2) gone() bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", q.cmd.Process.Pid))
	return err != nil || strings.Contains(string(stat), ") Z ")
}

func (q *qcow2) ReadAt(p []byte, offset int64) (int, error) {
	if err := q.do(nbdRead, offset, int64(len(p)), nil, p); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (q *qcow2) WriteAt(p []byte, offset int64) (int, error) {
	if err := q.do(nbdWrite, offset, int64(len(p)), p, nil); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (q *qcow2) Zero(offset, n int64) error {
	for end := offset + n; offset < end; offset += maxZero {
		if err := q.do(nbdZero, offset, min(maxZero, end-offset), nil, nil); err != nil {
			return err
		}
	}
	return nil
}

func (q *qcow2) Size() (int64, error) { return q.size, nil }

func (q *qcow2) Flush() error { return q.do(nbdFlush, 0, 0, nil, nil) }

func (q *qcow2) Fit(bytes int64) error {
	if bytes > q.size {
		return fmt.Errorf("the image has %d bytes, the machine's disk has %d now", q.size, bytes)
	}
	return nil
}

// Uncache drops what the kernel has cached of the image.
func (q *qcow2) Uncache() error { return unix.Fadvise(int(q.lock.Fd()), 0, 0, unix.FADV_DONTNEED) }

// Close ends the connection, and qemu-nbd with it.
func (q *qcow2) Close() error {
	var err error
	if q.nbdClient != nil {
		err = errors.Join(q.do(nbdDisconnect, 0, 0, nil, nil), q.conn.Close())
	}
	err = errors.Join(err, q.end())
	if q.dir != "" {
		err = errors.Join(err, os.RemoveAll(q.dir))
	}
	return errors.Join(err, q.lock.Close())
}

func ignoreGone(err error) error {
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}
