package main

import (
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"farshore"
	"farshore/cmd/commandline"
	"farshore/dataplane/rescue"
	"farshore/dataplane/rescue/medium"
	"farshore/fault"
)

// rescuePlan is what the command line says of a rescue image.
type rescuePlan struct {
	rescueConfig
	config string // of a master target: where the vault is, and what enters it
	tree   string // with a kernel and its modules
	kernel string // version; empty: the running one, or the only one in the tree
	out    string
	more   string // of the kernel's command line
	hosts  []string
}

func newRescueBuild() *cobra.Command {
	var p rescuePlan
	var machine, form string
	cmd := &cobra.Command{
		Use:   "build",
		Short: "Build the image that one machine's metal is started with to receive it",
		Long: `Build the image that one machine's metal is started with to receive it.

It makes a folder with rescue.img, for a USB stick or a virtual CD-ROM or disk (UEFI), and with vmlinuz, initrd and cmdline,
for the network or a boot loader on BIOS. The image enrols once, as master target rescue-MACHINE, with the join token.

Whoever has the image can read the vault: it holds the vault's key and its storage credential. Destroy it afterwards.`,
		Example: `  farshore token create --role master-target --name rescue-web-01 --lifetime 8h     # at the desk
  farshore-dataplane rescue build --machine web-01 --control fs.example.com:443 --token fst_... --ca-pin sha256:... \
      --config /etc/farshore/master-target.yaml --out web-01.rescue`,
		Args: commandline.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			for _, f := range []string{"machine", "control", "token", "ca-pin", "out"} {
				if !cmd.Flags().Changed(f) {
					return commandline.Usage(cmd, fmt.Sprintf("--%s is missing", f))
				}
			}
			id, err := farshore.ParseMachineID(machine)
			if err != nil {
				return commandline.Usage(cmd, err.Error())
			}
			if form != "text" && form != "json" {
				return commandline.Usage(cmd, fmt.Sprintf("-o %s is neither text nor json", form))
			}
			if p.Machine = id; p.Name == "" {
				p.Name = "rescue-" + machine
			}
			return p.build(cmd, form)
		},
	}
	f := cmd.Flags()
	f.StringVar(&machine, "machine", "", "`NAME` of the machine that comes home")
	f.StringVar(&p.Name, "name", "", "`NAME` of the master target, as the token says (default rescue-MACHINE)")
	f.StringVar(&p.Control, "control", "", "`HOST:PORT` of the configuration server")
	f.StringVar(&p.Token, "token", "", "join `TOKEN` for it (farshore token create --role master-target)")
	f.StringVar(&p.CAPin, "ca-pin", "", "`PIN` of the vault's CA, printed with the token")
	f.StringVar(&p.config, "config", rescueTargetFile, "`FILE` of a master target's configuration: its vault, keys and proxy are taken over")
	f.StringVar(&p.tree, "kernel-tree", "/", "`DIR` with boot/vmlinuz-VERSION and lib/modules/VERSION: / or an unpacked kernel package")
	f.StringVar(&p.kernel, "kernel", "", "`VERSION` of the kernel (default: the running one, or the only one in the tree)")
	f.StringArrayVar(&p.hosts, "host", nil, "`NAME=ADDRESS` that the image shall know without asking; may be repeated")
	f.StringVar(&p.more, "append", "", "more `WORDS` for the kernel, such as ip=10.0.0.5::10.0.0.1:255.255.255.0::eth0:off:10.0.0.2")
	f.StringVar(&p.out, "out", "", "`DIR` to make, for the image")
	f.StringVarP(&form, "output", "o", "text", "`form` of the output: text or json")
	return cmd
}

func (p rescuePlan) build(cmd *cobra.Command, form string) error {
	plan, err := p.medium()
	if err != nil {
		return err
	}
	image, err := medium.Build(cmd.Context(), plan, p.out)
	if err != nil {
		return err
	}
	if len(image.Lacking) > 0 {
		cmd.PrintErrf("%d files of firmware that drivers name are not in %s: a device that wants one will not work; -o json lists them\n", len(image.Lacking), plan.Firmware)
	}
	cmd.PrintErrf("whoever has the image can read the vault: keep it safe, and destroy it when %s is home\n", p.Machine)
	if form == "json" {
		e := json.NewEncoder(cmd.OutOrStdout())
		e.SetIndent("", "  ")
		return e.Encode(image)
	}
	cmd.Printf("%s\n", strings.Join([]string{image.Disk, image.Kernel, image.Initrd, image.Command}, "\n"))
	return nil
}

func badRescue(what, remedy string, err error) error {
	return &fault.Fault{Code: "FS-4120", Kind: fault.Operator, Subject: "rescue image", What: what, Remedy: remedy, Err: err}
}

// medium gathers what the image holds.
func (p rescuePlan) medium() (medium.Plan, error) {
	program, err := staticProgram()
	if err != nil {
		return medium.Plan{}, err
	}
	version, err := p.version()
	if err != nil {
		return medium.Plan{}, err
	}
	files, err := p.files()
	if err != nil {
		return medium.Plan{}, err
	}
	plan := medium.Plan{
		Kernel: filepath.Join(p.tree, "boot", "vmlinuz-"+version), Modules: filepath.Join(p.tree, "lib/modules", version),
		Firmware: filepath.Join(p.tree, "lib/firmware"), Program: program, Files: files, Append: p.more,
	}
	if _, err := os.Stat(plan.Modules); err != nil {
		plan.Modules = filepath.Join(p.tree, "usr/lib/modules", version)
	}
	return plan, nil
}

// version is that of the kernel to take.
func (p rescuePlan) version() (string, error) {
	if p.kernel != "" {
		return p.kernel, nil
	}
	found, _ := filepath.Glob(filepath.Join(p.tree, "boot", "vmlinuz-*")) // a tree whose name is a pattern finds none
	if len(found) == 1 {
		return strings.TrimPrefix(filepath.Base(found[0]), "vmlinuz-"), nil
	}
	var running unix.Utsname
	if err := unix.Uname(&running); err == nil && filepath.Clean(p.tree) == "/" && len(found) > 1 {
		return unix.ByteSliceToString(running.Release[:]), nil
	}
	return "", badRescue(fmt.Sprintf("%s holds %d kernels", filepath.Join(p.tree, "boot"), len(found)),
		"name one by --kernel, or unpack a package by: apt-get download linux-image-amd64's newest, dpkg-deb --extract FILE DIR, and give --kernel-tree DIR", nil)
}

// staticProgram is this program, if it needs no other file to run.
func staticProgram() (string, error) {
	path, err := os.Executable()
	if err != nil {
		return "", badRescue("this program cannot be found", "run it from an installed program", err)
	}
	f, err := elf.Open(path)
	if err != nil {
		return "", badRescue("this program cannot be read", "run it from an installed program", err)
	}
	defer f.Close()
	for _, part := range f.Progs {
		if part.Type == elf.PT_INTERP {
			return "", badRescue("this program was linked dynamically: it would not run alone", "take the released program, or build it by make", nil)
		}
	}
	return path, nil
}

// certificates are where distributions keep the CAs that storage accounts are known by.
var certificates = []string{"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem"}

// files are the settings of the rescue system and the secrets that they name.
func (p rescuePlan) files() (map[string][]byte, error) {
	var c masterTargetConfig
	if err := readConfig(p.config, &c); err != nil {
		return nil, err
	}
	c.Control, c.State, c.Metrics, c.VM = p.Control, rescueState, "", ""
	c.Devices, c.Folders = rescue.Patterns, nil
	if err := c.complete(p.config); err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	for path, content := range map[string]any{rescueFile: p.rescueConfig, rescueTargetFile: c} {
		body, err := yaml.Marshal(content)
		if err != nil {
			return nil, badRescue("its settings cannot be written", "see the cause", err)
		}
		files[path] = body
	}
	hosts := "127.0.0.1 localhost\n"
	for _, h := range p.hosts {
		name, address, _ := strings.Cut(h, "=")
		if _, err := netip.ParseAddr(address); err != nil || name == "" {
			return nil, badRescue(fmt.Sprintf("--host %s is not NAME=ADDRESS", h), "give a name and an IP address", err)
		}
		hosts += address + " " + name + "\n"
	}
	files["/etc/hosts"] = []byte(hosts)
	return files, errors.Join(packSecrets(files, c), packCertificates(files))
}

// packSecrets packs the files that a configuration names, under the same names.
func packSecrets(files map[string][]byte, c masterTargetConfig) error {
	var named []string
	if c.KeyVault == nil {
		named = append(named, c.KeyFile)
	} else {
		named = append(named, c.KeyVault.CertificateFile)
	}
	if k := c.Vault.Credential; k != nil {
		named = append(named, k.KeyFile, k.CertificateFile)
	}
	if c.Proxy != nil {
		named = append(named, c.Proxy.PasswordFile)
	}
	for _, path := range named {
		if path == "" {
			continue
		}
		body, err := os.ReadFile(path)
		if err == nil && !filepath.IsAbs(path) {
			err = errors.New("its path is not whole")
		}
		if err != nil {
			return badRescue("a file that the configuration names cannot be packed", "see that it is there and that you may read it", err)
		}
		files[path] = body
	}
	return nil
}

func packCertificates(files map[string][]byte) error {
	for _, path := range certificates {
		body, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return badRescue("the CA certificates of this host cannot be read", "see: "+path, err)
		}
		files[certificates[0]] = body
		return nil
	}
	return nil // a vault without TLS needs none
}
