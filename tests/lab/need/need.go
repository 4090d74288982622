package need

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"farshore/fault"
)

// installer is what brings the programs, as seen from the checkout.
const installer = "deploy/apt/install.sh"

// Root is nil if the process may make loop devices and mount them.
func Root(what string) error {
	if os.Geteuid() == 0 {
		return nil
	}
	return &fault.Fault{
		Code: "FS-9302", Kind: fault.Operator, Subject: what,
		What:   fmt.Sprintf("needs root, and this is user %d", os.Geteuid()),
		Remedy: "run it with sudo",
	}
}

// Programs is nil if all programs are on the path or in the usual places of system programs.
func Programs(what string, names ...string) error {
	var missing []string
	for _, name := range names {
		if _, err := find(name); err != nil {
			missing = append(missing, name)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return &fault.Fault{
		Code: "FS-9303", Kind: fault.Operator, Subject: what,
		What: "needs " + strings.Join(missing, ", "), Remedy: "run: sudo " + installer,
	}
}

// find looks also where system programs live: the path of a user may lack it.
func find(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err == nil {
		return path, nil
	}
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		if full, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return full, nil
		}
	}
	return "", fmt.Errorf("find a program: %w", err)
}

// maxComplaint is how much of a program's complaint a fault repeats.
const maxComplaint = 2000

// Run runs a program to its end and gives its standard output; what it complains about is in the fault.
func Run(ctx context.Context, name string, args ...string) (string, error) {
	path, err := find(name)
	if err != nil {
		return "", Programs("the lab", name)
	}
	var out, complaint bytes.Buffer
	c := exec.CommandContext(ctx, path, args...)
	c.Stdout, c.Stderr = &out, &complaint
	if err := c.Run(); err != nil {
		text := strings.TrimSpace(complaint.String())
		return out.String(), &fault.Fault{
			Code: "FS-9304", Kind: fault.Operator, Subject: name + " " + strings.Join(args, " "),
			What:   text[max(0, len(text)-maxComplaint):],
			Remedy: "mend what it complains about and try again", Err: errors.Join(err, ctx.Err()),
		}
	}
	return out.String(), nil
}

// Checkout finds the root of the source tree: the directory above with the module's go.mod.
func Checkout() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the checkout: %w", err)
	}
	for at := dir; ; at = filepath.Dir(at) {
		raw, err := os.ReadFile(filepath.Join(at, "go.mod"))
		if err == nil && bytes.HasPrefix(raw, []byte("module farshore\n")) {
			return at, nil
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("find the checkout: %w", err)
		}
		if at == filepath.Dir(at) {
			return "", fmt.Errorf("find the checkout: %s is not inside one", dir)
		}
	}
}

// building keeps two tests of one process from building the same program at once.
var building sync.Mutex

// Program builds one of Farshore's programs into the checkout's bin and gives its path.
func Program(ctx context.Context, name string) (string, error) {
	building.Lock()
	defer building.Unlock()
	root, err := Checkout()
	if err != nil {
		return "", err
	}
	path := filepath.Join(root, "bin", name)
	command := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", path, "./cmd/"+name)
	command.Dir, command.Env = root, append(os.Environ(), "CGO_ENABLED=0") // as make builds it
	if out, err := command.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", name, err, out)
	}
	return path, nil
}

// Cache gives the directory of things that the lab makes once, which git ignores.
func Cache() (string, error) {
	root, err := Checkout()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(root, ".cache", "lab")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("make the lab's cache: %w", err)
	}
	return dir, nil
}
