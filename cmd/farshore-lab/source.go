package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"farshore/tests/blockwriter"
	"farshore/tests/lab/armsim"
	"farshore/tests/lab/guest"
	"farshore/tests/lab/need"
	"farshore/tests/lab/stack"
)

// source is the machine that is protected: a disk with somebody writing on it.
type source interface {
	// Disks are what the agent protects.
	Disks() []string
	// Root is where the disk's root file system is mounted; the agent keeps its state there, so that whatever is recovered has
	// it. "" if the disk has none.
	Root() string
	// Hypervisor is what recovered machines run on.
	Hypervisor() armsim.Hypervisor
	// Hooks gives the folder with the quiesce hooks of the source; "" if its file systems can be frozen.
	Hooks() string
	// Describe says in one line what the disk is.
	Describe() string
	// StartWriter lets the writer begin; its log is kept on another disk.
	StartWriter(ctx context.Context) error
	// KillWriter ends the writer as a power cut would.
	KillWriter()
	// Judge waits until the recovered machine shows what its disk holds, and gives its judgement.
	Judge(ctx context.Context, machine string) (blockwriter.Report, error)
	// Loss says how many acknowledged writes are missing on a recovered disk, and how old the newest one there was.
	Loss(r blockwriter.Report) (lost uint64, age time.Duration, err error)
	// Stop ends the writer, if it runs.
	Stop()
	// Release takes back what was attached.
	Release(ctx context.Context) error
}

// newSource makes the best source that this user may have.
func newSource(ctx context.Context, cache, dir string) (source, error) {
	if os.Geteuid() == 0 {
		return newBootable(ctx, cache, dir)
	}
	return newImage(ctx, cache, dir)
}

// bootable is a Debian disk behind a loop device, mounted, with the writer in its file system. Recovered copies boot in
// QEMU and judge themselves on their serial console.
type bootable struct {
	writing
	disk   *guest.Disk
	guests *armsim.Guests
}

// newBootable makes and attaches the disk. A disk that an earlier demo left attached is released first.
func newBootable(ctx context.Context, cache, dir string) (*bootable, error) {
	hypervisor, err := guests(dir)
	if err != nil {
		return nil, err
	}
	image, err := guest.Build(ctx, cache)
	if err != nil {
		return nil, err
	}
	program, err := guest.Blockwriter(ctx, cache)
	if err != nil {
		return nil, err
	}
	own := filepath.Join(dir, "source.img")
	if err := guest.Copy(ctx, image, own); err != nil {
		return nil, err
	}
	if err := carryAgent(ctx, own); err != nil {
		return nil, err
	}
	disk, err := guest.Attach(ctx, own)
	if err != nil {
		return nil, err
	}
	return &bootable{writing: writing{program: program, dir: dir}, disk: disk, guests: hypervisor}, nil
}

// carryAgent gives the disk its agent, which runs here as long as the disk is this host's, and boots with what is recovered.
func carryAgent(ctx context.Context, image string) error {
	root, err := need.Checkout()
	if err != nil {
		return err
	}
	return guest.WithAgent(ctx, image, guest.Agent{
		Program: filepath.Join(root, "bin", "farshore-agent"), Control: net.JoinHostPort(guest.HostName, strconv.Itoa(stack.Standard.Control)), Rate: guestRate,
	})
}

// guestRate is how many operations per second the writer of a recovered machine does.
const guestRate = 20

func (b *bootable) Disks() []string               { return []string{b.disk.Device} }
func (b *bootable) Root() string                  { return b.disk.Root }
func (b *bootable) Hypervisor() armsim.Hypervisor { return b.guests }
func (b *bootable) Hooks() string                 { return "" }

func (b *bootable) Describe() string {
	return fmt.Sprintf("%s, a Debian 12 disk (GPT, ext4, GRUB), mounted on %s", b.disk.Device, b.disk.Root)
}

func (b *bootable) StartWriter(ctx context.Context) error {
	return b.start(ctx, "--dir", filepath.Join(b.disk.Root, "var/lib/blockwriter"), "--rate", "200")
}

const verdictTimeout = 3 * time.Minute

func (b *bootable) Judge(ctx context.Context, machine string) (blockwriter.Report, error) {
	ctx, cancel := context.WithTimeout(ctx, verdictTimeout)
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		console, err := os.ReadFile(b.guests.SerialLog(machine))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return blockwriter.Report{}, err
		}
		if line := verdict.Find(console); line != nil {
			return blockwriter.ParseConsole(string(line))
		}
		select {
		case <-ctx.Done():
			return blockwriter.Report{}, fmt.Errorf("wait for the verdict of %s on its console: %w", machine, ctx.Err())
		case <-tick.C:
		}
	}
}

func (b *bootable) Release(ctx context.Context) error { return b.disk.Detach(ctx) }
