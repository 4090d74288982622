package guest

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"farshore/tests/lab/kernel"
	"farshore/tests/lab/need"
)

// programs is what Build needs besides Go.
var programs = []string{
	"mmdebstrap", "tar", "sgdisk", "mkfs.ext4", "mkfs.vfat", "mmd", "mcopy", "grub-mkimage", "losetup", "partx",
}

// Missing says what the guest cannot be built without here; nil means nothing is missing.
func Missing() error {
	return errors.Join(need.Root("the lab's guest"), need.Programs("the lab's guest", programs...))
}

// Build gives the path of the bootable image for the present recipe and blockwriter. It is made if the cache does
// not hold it: about a minute, with packages from Debian's mirror. The image must not be changed: use [Copy].
func Build(ctx context.Context, cacheDir string) (imagePath string, err error) {
	if err := Missing(); err != nil {
		return "", err
	}
	unlock, err := lock(filepath.Join(cacheDir, "guest.lock"))
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, unlock()) }()

	writer := filepath.Join(cacheDir, "blockwriter")
	sum, err := buildBlockwriter(ctx, writer)
	if err != nil {
		return "", err
	}
	key, err := debian.hash(sum)
	if err != nil {
		return "", err
	}
	imagePath = filepath.Join(cacheDir, "guest-"+key+".img")
	if _, err := os.Stat(imagePath); err == nil {
		return imagePath, nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("look for the guest image: %w", err)
	}
	tarball, err := bootstrap(ctx, cacheDir)
	if err != nil {
		return "", err
	}
	if err := assemble(ctx, imagePath, tarball, writer); err != nil {
		return "", fmt.Errorf("build the guest image: %w", err)
	}
	return imagePath, prune(cacheDir, keptImages)
}

// keptImages is how many images stay in the cache: the present one, and one that another checkout of the blockwriter
// may be copying.
const keptImages = 2

// prune removes the oldest images: each change of the blockwriter makes a new one of 300 MiB.
func prune(cacheDir string, keep int) error {
	images, err := filepath.Glob(filepath.Join(cacheDir, "guest-*.img"))
	if err != nil {
		return fmt.Errorf("list guest images: %w", err)
	}
	born := map[string]int64{}
	for _, path := range images {
		about, err := os.Stat(path)
		if err != nil {
			return fmt.Errorf("list guest images: %w", err)
		}
		born[path] = about.ModTime().UnixNano()
	}
	slices.SortFunc(images, func(a, b string) int { return cmp.Compare(born[b], born[a]) })
	for _, path := range images[min(keep, len(images)):] {
		if err := os.Remove(path); err != nil {
			return fmt.Errorf("remove an old guest image: %w", err)
		}
	}
	return nil
}

// lock keeps two builds from one cache directory apart.
func lock(path string) (unlock func() error, err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("make the lab's cache: %w", err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock the lab's cache: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		return nil, fmt.Errorf("lock the lab's cache: %w", errors.Join(err, f.Close()))
	}
	return f.Close, nil
}

// Blockwriter builds the static blockwriter program into the cache and gives its path.
func Blockwriter(ctx context.Context, cacheDir string) (path string, err error) {
	unlock, err := lock(filepath.Join(cacheDir, "guest.lock"))
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	path = filepath.Join(cacheDir, "blockwriter")
	_, err = buildBlockwriter(ctx, path)
	return path, err
}

func buildBlockwriter(ctx context.Context, path string) (sum string, err error) {
	c := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", path+".new", "farshore/tests/blockwriter/cmd")
	c.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	if out, err := c.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the blockwriter: %w: %s", err, out)
	}
	raw, err := os.ReadFile(path + ".new")
	if err != nil {
		return "", fmt.Errorf("hash the blockwriter: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return "", fmt.Errorf("put the blockwriter in place: %w", err)
	}
	digest := sha256.Sum256(raw)
	return hex.EncodeToString(digest[:]), nil
}

// bootstrap makes the root file system as a tar archive, or finds it in the cache.
func bootstrap(ctx context.Context, cacheDir string) (string, error) {
	key := sha256.Sum256([]byte(strings.Join(debian.bootstrapArgs("", ""), "\n")))
	tarball := filepath.Join(cacheDir, "rootfs-"+hex.EncodeToString(key[:8])+".tar")
	if _, err := os.Stat(tarball); err == nil {
		return tarball, nil
	}
	temp := strings.TrimSuffix(tarball, ".tar") + ".new.tar"
	mirror, err := kernel.Mirror()
	if err != nil {
		return "", err
	}
	if _, err := need.Run(ctx, "mmdebstrap", debian.bootstrapArgs(temp, mirror)...); err != nil {
		return "", errors.Join(err, os.RemoveAll(temp))
	}
	if err := os.Rename(temp, tarball); err != nil {
		return "", fmt.Errorf("put the root file system in place: %w", err)
	}
	return tarball, nil
}

// assemble makes the image from the root file system, in a scratch directory that never outlives it.
func assemble(ctx context.Context, imagePath, tarball, writer string) (err error) {
	scratch, err := os.MkdirTemp(filepath.Dir(imagePath), "guest-scratch-")
	if err != nil {
		return fmt.Errorf("make a scratch directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	root := filepath.Join(scratch, "root")
	if err := os.Mkdir(root, 0o755); err != nil {
		return fmt.Errorf("make a scratch directory: %w", err)
	}
	if _, err := need.Run(ctx, "tar", "-xpf", tarball, "--numeric-owner", "--xattrs", "-C", root); err != nil {
		return err
	}
	if err := lay(root); err != nil {
		return err
	}
	for _, dir := range []string{"boot/efi", "var/lib/blockwriter"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			return fmt.Errorf("make /%s: %w", dir, err)
		}
	}
	if _, err := need.Run(ctx, "cp", writer, filepath.Join(root, "usr/local/bin/blockwriter")); err != nil {
		return err
	}
	temp := filepath.Join(scratch, "disk.img")
	if err := makeDisk(ctx, temp, root); err != nil {
		return err
	}
	if err := os.Rename(temp, imagePath); err != nil {
		return fmt.Errorf("put the image in place: %w", err)
	}
	return nil
}

// Copy makes a fresh disk from an image: a reflink where the file system can, else a sparse copy.
func Copy(ctx context.Context, image, to string) error {
	_, err := need.Run(ctx, "cp", "--reflink=auto", "--sparse=always", image, to)
	return err
}
