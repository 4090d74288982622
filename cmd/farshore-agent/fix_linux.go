package main

import (
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"farshore/cmd/commandline"
	"farshore/dataplane/readiness"
	"farshore/dataplane/readiness/repair"
	"farshore/fault"
)

func newReadinessFix() *cobra.Command {
	var e examination
	var all, yes bool
	cmd := &cobra.Command{
		Use: "fix CODE...", Short: "Mend what readiness found: show the plan, ask, do it, look again",
		Long: `Mend what readiness found: show the plan, ask, do it, look again.

The plan names each file and each command. Files are replaced in one instant; what they held stays beside them, under a name that ends in
` + repair.Kept + `. Nothing else is touched, and mending what is mended does nothing. Without enough free space nothing is done (FS-1062).
With --root, commands run inside that root: mount /dev and /proc there first.

The exit code is 12 if the plan was shown and nobody agreed, 11 if there is nothing to mend (FS-1064).`,
		Example: `  farshore-agent readiness fix --all --target azure
  farshore-agent readiness fix fstab-device-name efi-fallback --yes`,
		RunE: func(cmd *cobra.Command, args []string) error {
			codes, err := wantedCodes(cmd, args, all)
			if err != nil {
				return err
			}
			view, targets, err := e.look(cmd)
			if err != nil {
				return err
			}
			defer view.Close() //nolint:errcheck // only read
			steps := readiness.Plan(&view.Machine, targets, codes)
			if len(steps) == 0 {
				return &fault.Fault{
					Code: "FS-1064", Kind: fault.Refused, Subject: "root file system " + view.Dir, What: "nothing was found that the agent can mend",
					Remedy: "see what there is, and the commands for it: farshore-agent readiness",
				}
			}
			if err := agree(cmd, steps, yes); err != nil {
				return err
			}
			if err := repair.Apply(cmd.Context(), view.Dir, steps, cmd.ErrOrStderr()); err != nil {
				return err
			}
			return mended(cmd, e.form, view.Dir, e)
		},
	}
	e.flags(cmd)
	cmd.Flags().BoolVar(&all, "all", false, "mend everything that can be mended")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}

// wantedCodes reads which findings are to be mended.
func wantedCodes(cmd *cobra.Command, args []string, all bool) ([]readiness.Code, error) {
	if all == (len(args) > 0) {
		return nil, commandline.Usage(cmd, "name the codes to mend, or say --all")
	}
	if all {
		return readiness.Fixable(), nil
	}
	var codes []readiness.Code
	for _, word := range args {
		code := readiness.Code(word)
		if !slices.Contains(readiness.Codes(), code) {
			return nil, commandline.Usage(cmd, fmt.Sprintf("%q is no code of a finding", word))
		}
		if !slices.Contains(readiness.Fixable(), code) {
			return nil, &fault.Fault{
				Code: "FS-1064", Kind: fault.Refused, Subject: word, What: "the agent does not mend it: its commands are for people",
				Remedy: "see them: farshore-agent readiness",
			}
		}
		codes = append(codes, code)
	}
	return codes, nil
}

// mended looks again and says what is left.
func mended(cmd *cobra.Command, form, dir string, e examination) error {
	view, targets, err := e.look(cmd)
	if err != nil {
		return err
	}
	defer view.Close() //nolint:errcheck // only read
	left := readiness.Check(&view.Machine, targets...)
	answer := struct {
		Root string              `json:"root"`
		Left []readiness.Finding `json:"left"`
	}{dir, slices.Concat([]readiness.Finding{}, left)}
	err = show(cmd, form, answer, func(w io.Writer) {
		fmt.Fprintln(w, "mended; what is left:")
		listFindings(w, left)
	})
	if err != nil {
		return err
	}
	return verdict(dir, left)
}

// agree shows the plan and asks on the terminal, unless that was said beforehand.
func agree(cmd *cobra.Command, steps []readiness.Step, beforehand bool) error {
	talk := cmd.ErrOrStderr()
	fmt.Fprintln(talk, "the plan:")
	for _, s := range steps {
		fmt.Fprintf(talk, "  %s\n", s.Line())
		for _, why := range s.Why {
			fmt.Fprintf(talk, "    %s\n", why)
		}
	}
	if beforehand {
		return nil
	}
	in, ok := cmd.InOrStdin().(*os.File)
	if !ok || !commandline.Terminal(in) {
		return commandline.Unconfirmed("this plan")
	}
	switch agreed, err := commandline.Ask(cmd.Context(), in, talk); {
	case err != nil:
		return err
	case !agreed:
		return commandline.Declined("this plan")
	}
	return nil
}
