package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"farshore"
	"farshore/cmd/commandline"
	"farshore/dataplane/hub"
	"farshore/dataplane/proxy"
	"farshore/fault"
)

func newJoin() *cobra.Command {
	var control, token, pin, name, state string
	var way func() (proxy.Func, error)
	cmd := &cobra.Command{
		Use:   "join",
		Short: "Trade a join token for a certificate",
		Long: `Trade a join token for a certificate.

The agent's key is made here and never sent. The certificate is renewed by the running agent.`,
		Example: `  farshore-agent join --control fs.example.com:443 --token fst_... --ca-pin sha256:... --name web-01`,
		Args:    commandline.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			for _, f := range []string{"control", "token", "ca-pin", "name"} {
				if !cmd.Flags().Changed(f) {
					return commandline.Usage(cmd, fmt.Sprintf("--%s is missing", f))
				}
			}
			machine, err := farshore.ParseMachineID(name)
			if err != nil {
				return err
			}
			spec, err := describe(machine, config{State: state})
			if err != nil { // the running agent reports its disks; joining needs none
				spec = farshore.MachineSpec{ID: machine}
			}
			through, err := way()
			if err != nil {
				return err
			}
			node, err := hub.Enrol(cmd.Context(), hub.Enrolment{
				Address: control, Token: token, Pin: pin, Dir: state, Now: time.Now, Machine: &spec, Proxy: through,
				Identity: farshore.Identity{Role: farshore.RoleAgent, Name: name},
			})
			if err != nil {
				return identityFault(state, err)
			}
			id, err := node.Identity()
			if err != nil {
				return identityFault(state, err)
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "%s is enrolled; its certificate is in %s\n", id, state)
			return nil
		},
	}
	way = commandline.ProxyFlags(cmd)
	f := cmd.Flags()
	f.StringVar(&control, "control", "", "`HOST:PORT` of the configuration server")
	f.StringVar(&token, "token", "", "join `TOKEN` (farshore token create)")
	f.StringVar(&pin, "ca-pin", "", "`PIN` of the vault's CA, printed with the token")
	f.StringVar(&name, "name", "", "`NAME` of the machine, as the token says")
	f.StringVar(&state, "state", defaultState, "`DIR` for key, certificate and counters")
	return cmd
}

// describe takes the inventory of this machine.
func describe(machine farshore.MachineID, c config) (farshore.MachineSpec, error) {
	inventory, err := c.inventory(machine)
	if err != nil {
		return farshore.MachineSpec{}, err
	}
	return inventory.Spec, errors.Join(inventory.Close())
}

// identityFault gives an error of the agent's folder a name; faults of the hub have one.
func identityFault(state string, err error) error {
	if _, ok := fault.As(err); ok {
		return err
	}
	return &fault.Fault{
		Code: "FS-1103", Kind: fault.Operator, Subject: "node identity " + state, What: "it cannot be used",
		Remedy: "if the agent is not enrolled: farshore-agent join --help; else check that the folder belongs to the user it runs as", Err: err,
	}
}
