package kernel

import "farshore/tests/lab/qemu"

// Release is a kernel as Debian ships it.
type Release struct {
	Name    string // how tests call it: "debian-12"
	Suite   string // of the archive
	Package string // the package that always depends on the newest build
	Arch    qemu.Arch
}

// The releases that the tracker is proven on. The cloud kernels lack drivers of hardware, which no test here has.
var (
	Debian11     = Release{"debian-11", "bullseye", "linux-image-cloud-amd64", qemu.AMD64}
	Debian12     = Release{"debian-12", "bookworm", "linux-image-cloud-amd64", qemu.AMD64}
	Debian12New  = Release{"debian-12-backports", "bookworm-backports", "linux-image-cloud-amd64", qemu.AMD64}
	Debian13     = Release{"debian-13", "trixie", "linux-image-cloud-amd64", qemu.AMD64}
	Debian12ARM  = Release{"debian-12-arm64", "bookworm", "linux-image-cloud-arm64", qemu.ARM64}
	Debian13ARM  = Release{"debian-13-arm64", "trixie", "linux-image-cloud-arm64", qemu.ARM64}
	userlandName = "bookworm" // the programs come from one release: the kernel is what is tested
)
