package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/cmd/commandline"
)

// maxTokenLifetime is the longest that a join token can be good for.
const maxTokenLifetime = 24 * time.Hour

func (t *tool) tokenCommand() *cobra.Command {
	q := &farshorev1.CreateJoinTokenRequest{}
	var lifetime time.Duration
	beforehand := false
	create := &cobra.Command{
		Use:   "create",
		Short: "Make the right to enrol once, under one name",
		Example: `  farshore token create --role agent --name web-01
  farshore token create --role operator --name alice --lifetime 15m -o json | jq -r .token`,
		Args: needs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if q.GetRole() == "" || q.GetName() == "" {
				return commandline.Usage(cmd, "--role and --name are needed")
			}
			if lifetime < time.Second || lifetime > maxTokenLifetime || lifetime%time.Second != 0 {
				return commandline.Usage(cmd, fmt.Sprintf("--lifetime %s: want whole seconds, %s at most", lifetime, span(maxTokenLifetime)))
			}
			q.LifetimeSeconds = uint32(lifetime / time.Second)
			return t.createToken(cmd, q, beforehand)
		},
	}
	create.Flags().StringVar(&q.Role, "role", "", "`role`: agent, process-server, applier, master-target, collector or operator")
	create.Flags().StringVar(&q.Name, "name", "", "the only `name` it can be used for; an agent's is the machine's")
	create.Flags().DurationVar(&lifetime, "lifetime", time.Hour, "how long it is good; a day at most")
	create.Flags().BoolVar(&q.Replace, "replace", false, "the name is taken: refuse whoever has it once the token is used")
	yesFlag(create, &beforehand)
	return noun("token", "Let nodes and people in", create)
}

func (t *tool) createToken(cmd *cobra.Command, q *farshorev1.CreateJoinTokenRequest, beforehand bool) error {
	s, err := t.dial(cmd.Context())
	if err != nil {
		return err
	}
	if q.GetReplace() {
		p := plan{title: fmt.Sprintf("Make a join token that takes the name %s/%s over", q.GetRole(), q.GetName())}
		p.add("once it is used", "whoever has the name now is refused")
		if err := t.agree(cmd.Context(), p, beforehand); err != nil {
			return err
		}
	}
	answer, err := within(cmd.Context(), s, startTimeout, s.api.CreateJoinToken, q)
	if err != nil {
		return err
	}
	t.say("good until %s, once, for %s/%s; it is shown only now. Run there:", moment(answer.GetExpiresUnix(), nothing), q.GetRole(), q.GetName())
	return t.print(answer, func(x *text) { x.line("%s", joinLine(q, s.profile.Address, answer)) })
}

// joinLine is the command that uses a token.
func joinLine(q *farshorev1.CreateJoinTokenRequest, address string, a *farshorev1.CreateJoinTokenResponse) string {
	rest := fmt.Sprintf("--control %s --name %s --ca-pin %s --token %s", address, q.GetName(), a.GetCaPin(), a.GetToken())
	switch q.GetRole() {
	case "operator":
		return "farshore login " + rest
	case "agent":
		return "farshore-agent join " + rest
	}
	return "farshore-dataplane join --role " + q.GetRole() + " " + rest
}
