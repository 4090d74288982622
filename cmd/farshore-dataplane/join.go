package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"farshore"
	"farshore/cmd/commandline"
	"farshore/dataplane/hub"
	"farshore/dataplane/proxy"
	"farshore/fault"
)

// stateRoot is where nodes keep their identity and their desired document unless told otherwise.
const stateRoot = "/var/lib/farshore"

// stateFolder is where a node of a role keeps them.
func stateFolder(role farshore.Role) string { return filepath.Join(stateRoot, string(role)) }

// roles are those that this program can take.
var roles = []farshore.Role{farshore.RoleProcessServer, farshore.RoleApplier, farshore.RoleMasterTarget, farshore.RoleCollector}

func newJoin() *cobra.Command {
	var control, token, pin, role, name, state string
	var way func() (proxy.Func, error)
	cmd := &cobra.Command{
		Use:   "join",
		Short: "Trade a join token for a certificate",
		Long: `Trade a join token for a certificate.

The node's key is made here and never sent. The certificate is renewed by the running node. Joining again with a
new token replaces the certificate; joining under another name needs another --state.`,
		Example: `  farshore-dataplane join --control fs.example.com:443 --token fst_... --ca-pin sha256:... \
      --role process-server --name hq-1`,
		Args: commandline.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			for _, f := range []string{"control", "token", "ca-pin", "role", "name"} {
				if !cmd.Flags().Changed(f) {
					return commandline.Usage(cmd, fmt.Sprintf("--%s is missing", f))
				}
			}
			if !slices.Contains(roles, farshore.Role(role)) {
				return commandline.Usage(cmd, fmt.Sprintf("--role %q is none of %v", role, roles))
			}
			if state == "" {
				state = stateFolder(farshore.Role(role))
			}
			through, err := way()
			if err != nil {
				return err
			}
			node, err := hub.Enrol(cmd.Context(), hub.Enrolment{
				Address: control, Token: token, Pin: pin, Dir: state, Now: time.Now, Proxy: through,
				Identity: farshore.Identity{Role: farshore.Role(role), Name: name},
			})
			if err != nil {
				return joinFault(state, err)
			}
			id, err := node.Identity()
			if err != nil {
				return joinFault(state, err)
			}
			cmd.PrintErrf("%s is enrolled; its certificate is in %s\n", id, state)
			return nil
		},
	}
	way = commandline.ProxyFlags(cmd)
	f := cmd.Flags()
	f.StringVar(&control, "control", "", "`HOST:PORT` of the configuration server")
	f.StringVar(&token, "token", "", "join `TOKEN` (farshore token create)")
	f.StringVar(&pin, "ca-pin", "", "`PIN` of the vault's CA, printed with the token")
	f.StringVar(&role, "role", "", "process-server, applier, master-target or collector")
	f.StringVar(&name, "name", "", "`NAME` of the node, as the token says")
	f.StringVar(&state, "state", "", "`DIR` for key and certificate (default "+stateRoot+"/ROLE)")
	return cmd
}

// joinFault gives an error of the node's folder a name; faults of the hub have one.
func joinFault(state string, err error) error {
	if _, ok := fault.As(err); ok {
		return err
	}
	return identityFault(state, err)
}

func identityFault(state string, err error) error {
	return &fault.Fault{
		Code: "FS-2107", Kind: fault.Operator, Subject: "node identity " + state, What: "it cannot be used",
		Remedy: "if the node is not enrolled: farshore-dataplane join --help; else check that the folder belongs to the user it runs as", Err: err,
	}
}
