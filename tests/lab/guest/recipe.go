package guest

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// overlay is laid over the root file system. Files below a sbin directory are programs. The machine id is in it because
// a machine without one spends seconds of its first boot on unit presets.
//
//go:embed all:overlay
var overlay embed.FS

// recipe is all that the root file system is made from, apart from the packages' versions of the day.
type recipe struct {
	suite    string
	packages []string
	modules  []string // what the initramfs holds, besides what is built into the kernel
	without  []string // paths that the packages bring and nobody reads
	disabled []string // units that would only make noise
}

var debian = recipe{
	suite:    "bookworm",
	packages: []string{"linux-image-cloud-amd64", "initramfs-tools", "busybox", "lz4", "systemd-sysv", "udev", "kmod", "login", "iproute2"},
	modules: []string{
		"virtio_pci", "virtio_blk", "virtio_scsi", "sd_mod", "ata_piix", "ata_generic",
		"hv_vmbus", "hv_storvsc", "hv_netvsc", "vmw_pvscsi", "virtio_net", "vmxnet3",
	},
	without: []string{
		"/usr/share/man/*", "/usr/share/doc/*", "/usr/share/info/*", "/usr/share/locale/*", "/usr/share/zoneinfo/*",
		"/usr/share/bash-completion/*", "/lib/modules/*/kernel/sound/*", "/lib/modules/*/kernel/drivers/net/ethernet/mellanox/*",
	},
	disabled: []string{
		"apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer", "fstrim.timer",
		"systemd-networkd-wait-online.service", "systemd-logind.service", "e2scrub_reap.service", "systemd-pstore.service",
		"getty@tty1.service", "getty-static.service", "systemd-update-utmp.service", "systemd-update-utmp-runlevel.service",
		"dev-hugepages.mount", "dev-mqueue.mount", "sys-fs-fuse-connections.mount", "systemd-binfmt.service",
	},
}

// The identifiers of the image's file systems. They are constant: each machine has only one of them.
const (
	rootUUID = "5f0a9e5c-1d3b-4c8e-9b7a-fa25b0e00001"
	espID    = "FA25B0E2"
)

// hash names the recipe, its overlay and further ingredients.
func (r recipe) hash(ingredients ...string) (string, error) {
	h := sha256.New()
	fmt.Fprintf(h, "%+v %s %s %+v %q\n", r, rootUUID, espID, diskLayout, ingredients)
	err := fs.WalkDir(overlay, "overlay", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := overlay.ReadFile(path)
		fmt.Fprintf(h, "%s %d\n%s", path, len(raw), raw)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("hash the recipe: %w", err)
	}
	return hex.EncodeToString(h.Sum(nil))[:16], nil
}

// bootstrapArgs are the arguments of mmdebstrap.
func (r recipe) bootstrapArgs(tarball, mirror string) []string {
	modules := strings.Join(r.modules, `\n`)
	args := []string{
		"--mode=root", "--variant=minbase", "--format=tar",
		`--aptopt=Apt::Install-Recommends "false"`,
		"--include=" + strings.Join(r.packages, ","),
		// Before the kernel is installed, so that its initramfs is made once and small.
		`--essential-hook=mkdir -p "$1/etc/initramfs-tools/conf.d"`,
		`--essential-hook=printf 'MODULES=list\nCOMPRESS=lz4\nRESUME=none\n' > "$1/etc/initramfs-tools/conf.d/lab"`,
		`--essential-hook=printf '` + modules + `\n' > "$1/etc/initramfs-tools/modules"`,
		`--customize-hook=chroot "$1" passwd -d root`,
		`--customize-hook=chroot "$1" systemctl mask ` + strings.Join(r.disabled, " "),
		`--customize-hook=chroot "$1" systemctl enable systemd-networkd.service serial-getty@ttyS0.service`,
		`--customize-hook=rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/*.bin`,
	}
	for _, path := range r.without {
		args = append(args, "--dpkgopt=path-exclude="+path)
	}
	return append(args, r.suite, tarball, mirror)
}

// lay copies the overlay into an unpacked root file system.
func lay(root string) error {
	names := strings.NewReplacer("@ROOT_UUID@", rootUUID, "@ESP_UUID@", espID[:4]+"-"+espID[4:])
	err := fs.WalkDir(overlay, "overlay", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		to := filepath.Join(root, strings.TrimPrefix(path, "overlay"))
		if d.IsDir() {
			return os.MkdirAll(to, 0o755)
		}
		raw, err := overlay.ReadFile(path)
		if err != nil {
			return err
		}
		mode := os.FileMode(0o644)
		if strings.HasSuffix(filepath.Dir(path), "sbin") {
			mode = 0o755
		}
		return os.WriteFile(to, []byte(names.Replace(string(raw))), mode)
	})
	if err != nil {
		return fmt.Errorf("lay the overlay: %w", err)
	}
	return enable(root, "farshore-verify.service")
}

// enable makes the links that systemctl enable would make.
func enable(root string, units ...string) error {
	wants := filepath.Join(root, "etc/systemd/system/multi-user.target.wants")
	if err := os.MkdirAll(wants, 0o755); err != nil {
		return fmt.Errorf("enable units: %w", err)
	}
	for _, unit := range units {
		if err := os.Symlink("/etc/systemd/system/"+unit, filepath.Join(wants, unit)); err != nil {
			return fmt.Errorf("enable %s: %w", unit, err)
		}
	}
	return nil
}
