package main

import (
	"bufio"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"farshore"
	"farshore/cmd/commandline"
	"farshore/cmd/farshore/profile"
	"farshore/dataplane/credential"
	"farshore/dataplane/hub"
	"farshore/fault"
)

// login is what the command line says about a profile to make.
type login struct {
	control, token, pin, name string
}

// loginDocument is the output of login with -o json.
type loginDocument struct {
	Profile            string `json:"profile"`
	Control            string `json:"control"`
	Operator           string `json:"operator"`
	CertificateEndUnix int64  `json:"certificateEndUnix"`
}

func (t *tool) loginCommand() *cobra.Command {
	var l login
	cmd := &cobra.Command{
		Use:   "login",
		Short: "Trade a join token for an operator's certificate and remember the configuration server",
		Long: `Trade a join token for an operator's certificate and remember the configuration server.

The key is made here and never leaves the profile's folder. The certificate lives for a day; every command renews it when
half of that is over, and one that was not used for 30 days needs a new login.`,
		Example: `  farshore login --control control.example.org:443 --name alice --ca-pin sha256:… --token fsj_…
  farshore login --control control.example.org:443 --name alice --ca-pin sha256:… --token - <token.txt`,
		Args: needs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			return t.login(ctx, cmd, l)
		},
	}
	cmd.Flags().StringVar(&l.control, "control", "", "`HOST:PORT` of the configuration server")
	cmd.Flags().StringVar(&l.token, "token", "", "join `token` that farshore token create printed; - reads it from stdin")
	cmd.Flags().StringVar(&l.pin, "ca-pin", "", "`pin` of the vault's CA, printed with the token (not needed for a profile of the same vault)")
	cmd.Flags().StringVar(&l.name, "name", "", "your `name`, the one that the token is for")
	return cmd
}

func (t *tool) login(ctx context.Context, cmd *cobra.Command, l login) error {
	if l.control == "" || l.token == "" || l.name == "" {
		return commandline.Usage(cmd, "--control, --token and --name are needed")
	}
	address, err := profile.CheckAddress(l.control)
	if err != nil {
		return err
	}
	if l.token == "-" {
		line, err := bufio.NewReader(t.in).ReadString('\n')
		if err != nil && line == "" {
			return commandline.Usage(cmd, "there is no token on stdin")
		}
		l.token = line
	}
	dir := t.profile
	if dir == "" {
		if dir, err = profile.Default(); err != nil {
			return err
		}
	}
	if l.pin, err = pinFor(cmd, dir, l.pin); err != nil {
		return err
	}
	node, err := hub.Enrol(ctx, hub.Enrolment{
		Address: address, Token: l.token, Pin: l.pin, Identity: farshore.Identity{Role: farshore.RoleOperator, Name: l.name}, Dir: dir, Now: t.now,
	})
	if err != nil {
		if _, ok := fault.As(err); ok {
			return err
		}
		return reason(address, err)
	}
	if err := profile.Save(dir, address); err != nil {
		return err
	}
	return t.welcome(dir, address, node)
}

func (t *tool) welcome(dir, address string, node *credential.Node) error {
	id, err := node.Identity()
	if err != nil {
		return err
	}
	_, end, err := node.Lifetime()
	if err != nil {
		return err
	}
	document := loginDocument{Profile: dir, Control: address, Operator: id.Name, CertificateEndUnix: end.Unix()}
	return t.print(document, func(x *text) {
		x.line("you are %s at %s", id, address)
		x.line("profile %s; the certificate is good until %s and renews itself", dir, clock(end))
	})
}

// pinFor is the pin to believe: the one that was given, or that of the vault the profile belongs to already. A profile
// never changes its vault.
func pinFor(cmd *cobra.Command, dir, given string) (string, error) {
	content, err := os.ReadFile(filepath.Join(dir, credential.CAFile))
	if errors.Is(err, fs.ErrNotExist) {
		if given == "" {
			return "", commandline.Usage(cmd, "--ca-pin is needed: by it the vault is recognised; farshore token create prints it")
		}
		return given, nil
	}
	if err != nil {
		return "", fmt.Errorf("read the profile's CA: %w", err)
	}
	block, _ := pem.Decode(content)
	if block == nil {
		return "", fmt.Errorf("read the profile's CA: %s is no PEM file", filepath.Join(dir, credential.CAFile))
	}
	ca, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return "", fmt.Errorf("read the profile's CA: %w", err)
	}
	known := hub.PinOf(ca.RawSubjectPublicKeyInfo).String()
	if given != "" && given != known {
		return "", &fault.Fault{
			Code: "FS-9003", Kind: fault.Refused, Subject: "profile " + dir, What: "it belongs to another vault, with the pin " + known,
			Remedy: "keep a profile for each vault: repeat with --profile FOLDER",
		}
	}
	return known, nil
}
