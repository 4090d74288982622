package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"farshore/cmd/commandline"
	"farshore/dataplane/readiness"
	"farshore/dataplane/readiness/initramfs"
	"farshore/dataplane/readiness/survey"
	"farshore/fault"
)

// examination is what readiness and its fix share: where to look, and for which targets.
type examination struct {
	root, form string
	targets    []string
}

func (e *examination) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&e.root, "root", defaultRoot, "`DIR` where the root file system to examine is mounted")
	f.StringSliceVar(&e.targets, "target", nil, "`PLACE` where it has to start: azure, vmware, kvm, metal; without it, all")
	f.StringVarP(&e.form, "output", "o", "text", "`FORM` of the output: text or json")
}

// look makes the view, and reads the targets.
func (e *examination) look(cmd *cobra.Command) (*survey.View, []readiness.Target, error) {
	var targets []readiness.Target
	for _, word := range e.targets {
		t, err := readiness.ParseTarget(word)
		if err != nil {
			return nil, nil, commandline.Usage(cmd, err.Error())
		}
		targets = append(targets, t)
	}
	view, err := survey.Take(survey.Running, e.root)
	return view, targets, err
}

func newReadiness() *cobra.Command {
	var e examination
	cmd := &cobra.Command{
		Use: "readiness", Short: "Say what would stop this machine from starting elsewhere, and how to mend it", Args: commandline.NoArguments,
		Long: `Say what would stop this machine from starting elsewhere, and how to mend it.

Looks at boot loader, kernels and their initramfs, file system tables, network configuration, encryption and more, and changes nothing.
The exit code is 1 (FS-1060) if something blocks the start at a target that was asked about, else 0.`,
		Example: `  farshore-agent readiness
  farshore-agent readiness --target azure -o json | jq '.findings[] | select(.severity == "blocks")'
  farshore-agent readiness --root /mnt/image --target kvm`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			view, targets, err := e.look(cmd)
			if err != nil {
				return err
			}
			defer view.Close() //nolint:errcheck // only read
			findings := readiness.Check(&view.Machine, targets...)
			answer := struct {
				Root     string              `json:"root"`
				Worst    readiness.Severity  `json:"worst"` // "" if nothing was found
				Findings []readiness.Finding `json:"findings"`
			}{view.Dir, readiness.Worst(findings), slices.Concat([]readiness.Finding{}, findings)}
			if err := show(cmd, e.form, answer, func(w io.Writer) { listFindings(w, findings) }); err != nil {
				return err
			}
			return verdict(view.Dir, findings)
		},
	}
	e.flags(cmd)
	cmd.AddCommand(newReadinessFix())
	return cmd
}

// verdict is a fault if something blocks.
func verdict(dir string, findings []readiness.Finding) error {
	var codes []string
	targets := map[readiness.Target]bool{}
	for _, f := range findings {
		if f.Severity != readiness.Blocks {
			continue
		}
		codes = append(codes, string(f.Code))
		for _, t := range f.Targets {
			targets[t] = true
		}
	}
	if len(codes) == 0 {
		return nil
	}
	var places []string
	for _, t := range readiness.Targets() {
		if targets[t] {
			places = append(places, string(t))
		}
	}
	slices.Sort(codes)
	return &fault.Fault{
		Code: "FS-1060", Kind: fault.Operator, Subject: "root file system " + dir,
		What:   fmt.Sprintf("it would not start on %s: %s", strings.Join(places, ", "), strings.Join(slices.Compact(codes), ", ")),
		Remedy: "run the commands shown with each finding, or: farshore-agent readiness fix --all",
	}
}

func listFindings(w io.Writer, findings []readiness.Finding) {
	if len(findings) == 0 {
		fmt.Fprintln(w, "nothing was found that would stop this machine from starting there")
	}
	for _, f := range findings {
		fmt.Fprintf(w, "%s  %s  %s  %s\n", strings.ToUpper(string(f.Severity)), f.Code, f.TargetList(), f.Subject)
		fmt.Fprintf(w, "  what: %s\n  why:  %s\n", f.What, f.Why)
		for _, c := range f.Commands {
			fmt.Fprintf(w, "  run:  %s\n", c)
		}
		if f.Fixable {
			fmt.Fprintf(w, "  or:   farshore-agent readiness fix %s\n", f.Code)
		}
	}
}

// maxImages is how many initramfs are remembered from one look to the next.
const maxImages = 8

// examiner looks at the machine whose root is mounted there again and again; it unpacks an initramfs only when that has changed.
func examiner(root string) func() (examined, error) {
	images := map[string]*initramfs.Image{}
	return func() (examined, error) {
		view, err := survey.Take(survey.Running, root)
		if err != nil {
			return examined{}, err
		}
		if len(images) > maxImages {
			clear(images)
		}
		view.Images = images
		return examined{readiness.Check(&view.Machine), readiness.Configuration(&view.Machine)}, view.Close()
	}
}
