package kernel

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"farshore/fault"
	"farshore/tests/lab/need"
	"farshore/tests/lab/qemu"
)

// archive is one suite for one architecture, with a package client's state of its own: nothing of this machine's package
// database is read or changed.
type archive struct {
	dir   string
	suite string
	arch  qemu.Arch
}

// source is where this machine gets its packages.
type source struct{ mirror, keyring string }

// openArchive reads the suite's list of packages.
func openArchive(ctx context.Context, cacheDir, suite string, arch qemu.Arch) (*archive, error) {
	from, err := findSource()
	if err != nil {
		return nil, err
	}
	a := &archive{dir: filepath.Join(cacheDir, fmt.Sprintf("apt-%s-%s", suite, arch)), suite: suite, arch: arch}
	for _, dir := range []string{"state/lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(a.dir, dir), 0o755); err != nil {
			return nil, fmt.Errorf("make a place for packages: %w", err)
		}
	}
	signed := ""
	if from.keyring != "" {
		signed = "[signed-by=" + from.keyring + "] "
	}
	files := map[string]string{
		"status":       "",
		"sources.list": fmt.Sprintf("deb %s%s %s main\n", signed, from.mirror, suite),
		"apt.conf": fmt.Sprintf(`Dir::Etc::sourcelist "%[1]s/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::State "%[1]s/state";
Dir::State::status "%[1]s/status";
Dir::Cache "%[1]s/cache";
APT::Architecture "%[2]s";
APT::Architectures { "%[2]s"; };
APT::Default-Release "%[3]s";
APT::Install-Recommends "false";
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::Retries "3";
`, a.dir, arch, suite),
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(a.dir, name), []byte(text), 0o644); err != nil {
			return nil, fmt.Errorf("configure the package client: %w", err)
		}
	}
	if _, err := a.apt(ctx, "apt-get", "--quiet", "update"); err != nil {
		return nil, err
	}
	return a, nil
}

// apt runs a program of the package client on this archive.
func (a *archive) apt(ctx context.Context, args ...string) (string, error) {
	return need.Run(ctx, "env", append([]string{"APT_CONFIG=" + filepath.Join(a.dir, "apt.conf")}, args...)...)
}

// newest gives the package that a meta package stands for, and its version.
func (a *archive) newest(ctx context.Context, meta string) (name, version string, err error) {
	out, err := a.apt(ctx, "apt-cache", "show", "--no-all-versions", meta)
	if err != nil {
		return "", "", err
	}
	for line := range strings.Lines(out) {
		if text, ok := strings.CutPrefix(line, "Depends: "); ok {
			name, _, _ = strings.Cut(strings.TrimSpace(text), " ")
			name = strings.TrimSuffix(name, ",")
		}
		if text, ok := strings.CutPrefix(line, "Version: "); ok {
			version = strings.TrimSpace(text)
		}
	}
	if name == "" || version == "" {
		return "", "", fmt.Errorf("find the newest %s in %s: the package names none", meta, a.suite)
	}
	return name, version, nil
}

// unpack fetches one package and unpacks it into a folder.
func (a *archive) unpack(ctx context.Context, into, name string) error {
	if _, err := need.Run(ctx, "sh", "-c", `cd "$1" && APT_CONFIG="$2" apt-get --quiet download "$3"`,
		"fetch", filepath.Join(a.dir, "cache"), filepath.Join(a.dir, "apt.conf"), name); err != nil {
		return err
	}
	return a.unpackAll(ctx, into, filepath.Join(a.dir, "cache", name+"_*.deb"))
}

// unpackClosure fetches packages and all that they depend on, and unpacks them into a folder.
func (a *archive) unpackClosure(ctx context.Context, into string, names ...string) error {
	args := append([]string{"apt-get", "--quiet", "--yes", "--download-only", "install"}, names...)
	if _, err := a.apt(ctx, args...); err != nil {
		return err
	}
	return a.unpackAll(ctx, into, filepath.Join(a.dir, "cache/archives/*.deb"))
}

// unpackAll unpacks the packages and removes them: they are not needed twice.
func (a *archive) unpackAll(ctx context.Context, into, pattern string) error {
	paths, err := filepath.Glob(pattern)
	if err != nil || len(paths) == 0 {
		return errors.Join(fmt.Errorf("no package matches %s", pattern), err)
	}
	for _, path := range paths {
		if _, err := need.Run(ctx, "dpkg-deb", "--extract", path, into); err != nil {
			return err
		}
		if err := os.Remove(path); err != nil {
			return fmt.Errorf("remove an unpacked package: %w", err)
		}
	}
	return nil
}

// Mirror is the mirror that this machine takes its packages from; it carries other releases too.
func Mirror() (string, error) {
	from, err := findSource()
	return from.mirror, err
}

// findSource finds the mirror that carries this machine's own release; other releases lie beside it.
func findSource() (source, error) {
	codename := releaseName()
	for _, pattern := range []string{"/etc/apt/sources.list.d/*.sources", "/etc/apt/sources.list", "/etc/apt/sources.list.d/*.list"} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			return source{}, fmt.Errorf("look for a package source: %w", err)
		}
		for _, path := range paths {
			raw, err := os.ReadFile(path)
			if err != nil {
				return source{}, fmt.Errorf("look for a package source: %w", err)
			}
			if from, ok := parseSource(raw, codename); ok {
				return from, nil
			}
		}
	}
	return source{}, &fault.Fault{
		Code: "FS-9305", Kind: fault.Operator, Subject: "kernels for the lab",
		What:   fmt.Sprintf("this machine has no package source of Debian's main archive for its release %q", codename),
		Remedy: "run it on Debian, or configure such a source",
	}
}

// releaseName is the code name of a Debian that runs here; "" elsewhere.
func releaseName() string {
	raw, err := os.ReadFile("/etc/os-release")
	if err != nil || !bytes.Contains(raw, []byte("\nID=debian\n")) {
		return ""
	}
	for line := range strings.Lines(string(raw)) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "VERSION_CODENAME="); ok {
			return strings.Trim(name, `"`)
		}
	}
	return ""
}

// parseSource finds the source of the suite in a file of either form (sources.list(5)).
func parseSource(raw []byte, suite string) (source, bool) {
	if suite == "" {
		return source{}, false
	}
	stanza := map[string]string{}
	lines := bufio.NewScanner(bytes.NewReader(append(raw, "\n\n"...)))
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if line == "" {
			if found, ok := stanzaSource(stanza, suite); ok {
				return found, true
			}
			clear(stanza)
			continue
		}
		if found, ok := lineSource(line, suite); ok {
			return found, true
		}
		if key, value, ok := strings.Cut(line, ":"); ok && !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, "deb") {
			stanza[key] = strings.TrimSpace(value)
		}
	}
	return source{}, false
}

func stanzaSource(stanza map[string]string, suite string) (source, bool) {
	uris := strings.Fields(stanza["URIs"])
	if len(uris) == 0 || !slices.Contains(strings.Fields(stanza["Suites"]), suite) || stanza["Enabled"] == "no" {
		return source{}, false
	}
	return source{mirror: uris[0], keyring: keyringPath(stanza["Signed-By"])}, true
}

func lineSource(line, suite string) (source, bool) {
	fields := strings.Fields(line)
	if len(fields) < 4 || fields[0] != "deb" {
		return source{}, false
	}
	keyring := ""
	if strings.HasPrefix(fields[1], "[") {
		end := slices.IndexFunc(fields, func(f string) bool { return strings.HasSuffix(f, "]") })
		if end < 0 {
			return source{}, false
		}
		for _, option := range fields[1 : end+1] {
			if path, ok := strings.CutPrefix(strings.Trim(option, "[]"), "signed-by="); ok {
				keyring = keyringPath(path)
			}
		}
		fields = append(fields[:1:1], fields[end+1:]...)
	}
	if len(fields) < 4 || fields[2] != suite {
		return source{}, false
	}
	return source{mirror: fields[1], keyring: keyring}, true
}

// keyringPath takes a key that is written out for none: the client's own keys then have to do.
func keyringPath(value string) string {
	if strings.HasPrefix(value, "/") {
		return value
	}
	return ""
}
