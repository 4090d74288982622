package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"farshore"
	"farshore/cmd/commandline"
	"farshore/dataplane/archive"
	"farshore/dataplane/vault"
	"farshore/dataplane/vault/connect"
	"farshore/fault"
)

// exported is the result of export.
type exported struct {
	Archive string         `json:"archive"`
	Parts   []archive.Part `json:"parts"`
	archive.Exported
}

// imported is the result of import.
type imported struct {
	Archive string         `json:"archive"`
	Vault   string         `json:"vault"`
	Parts   []archive.Part `json:"parts"`
	archive.Comparison
	Done bool `json:"done"`
}

type exportFlags struct {
	machines []string
	from, to string
	identity bool
}

func (t *tool) exportCommand() *cobra.Command {
	var f exportFlags
	cmd := &cobra.Command{
		Use:   "export FILE|DIR/",
		Short: "Take machines out of the vault in a form that can be carried",
		Long: "Write an archive: a tar file or, with a slash at the end, a folder, which is a vault of kind file itself. It holds the claims and the\n" +
			"readable stream of each machine as they are, encrypted. Broken off, the same command goes on where it stopped.\n" +
			"--from makes it hold only what comes behind a position; import wants that position to be there.",
		Example: "  farshore-restore export --machine web-01 web-01.tar --vault-path /srv/vault\n" +
			"  farshore-restore export --only-identity /media/usb/seed/ --config /etc/farshore/applier.yaml",
		Args: exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error { return t.export(cmd, args[0], f) },
	}
	cmd.Flags().StringArrayVar(&f.machines, "machine", nil, "`name` of a machine; may be repeated; none: all")
	cmd.Flags().StringVar(&f.from, "from", "", "only what comes behind this `position` of one machine")
	cmd.Flags().StringVar(&f.to, "to", "", "only up to this `position` of one machine")
	cmd.Flags().BoolVar(&f.identity, "only-identity", false, "no machine: only what makes it this vault, to begin a seed with")
	return cmd
}

// selection makes what the flags say.
func (f exportFlags) selection(ctx context.Context, cmd *cobra.Command, v *opened) (s archive.Selection, err error) {
	for _, name := range f.machines {
		id, err := farshore.ParseMachineID(name)
		if err != nil {
			return s, err
		}
		s.Machines = append(s.Machines, id)
	}
	for _, p := range []struct {
		text string
		into *farshore.Position
	}{{f.from, &s.From}, {f.to, &s.To}} {
		if p.text == "" {
			continue
		}
		if len(s.Machines) != 1 {
			return s, commandline.Usage(cmd, "--from and --to are positions of one --machine")
		}
		if *p.into, err = farshore.ParsePosition(p.text); err != nil {
			return s, commandline.Usage(cmd, err.Error())
		}
	}
	if f.identity && len(s.Machines) > 0 {
		return s, commandline.Usage(cmd, "--only-identity takes no --machine")
	}
	if len(s.Machines) == 0 && !f.identity {
		s.Machines, err = v.reader.Machines(ctx)
	}
	return s, err
}

func (t *tool) export(cmd *cobra.Command, path string, f exportFlags) error {
	ctx, talk := cmd.Context(), cmd.ErrOrStderr()
	v, err := t.vault.open(ctx, talk, false)
	if err != nil {
		return err
	}
	s, err := f.selection(ctx, cmd, v)
	if err != nil {
		return err
	}
	plan, err := archive.Make(ctx, v.reader, s)
	if err != nil {
		return err
	}
	bar := newProgress(talk, "export", plan.Bytes())
	defer bar.end()
	done, err := archive.Export(ctx, v.store, plan, path, bar.add)
	if err != nil {
		return err
	}
	r := exported{Archive: path, Parts: plan.Head.Parts, Exported: done}
	return t.print(cmd, r, func(w io.Writer) error {
		l := &lines{w: w}
		l.add("written\t%s\t%d objects, %s", path, r.Objects, commandline.Size(r.Bytes))
		listParts(l, r.Parts)
		return l.err
	})
}

func listParts(l *lines, parts []archive.Part) {
	for _, p := range parts {
		from := "from the beginning"
		if p.From != "" {
			from = "behind " + p.From
		}
		l.add("%s\tgeneration %d\t%s up to %s", p.Machine, p.Generation, from, p.To)
	}
}

func (t *tool) importCommand() *cobra.Command {
	yes := false
	cmd := &cobra.Command{
		Use:   "import FILE|DIR",
		Short: "Bring an archive into the vault, or into storage that holds none yet",
		Long: "Read an archive whole, check every object of it, compare it with what is in the vault, and put what is missing. Nothing that is there\n" +
			"is ever replaced: another content under the same name is a conflict, and then nothing is put. With --key every segment is opened too.\n" +
			"Without --yes the plan is shown. Broken off, the same command goes on.",
		Example: "  farshore-restore import web-01.tar --config /etc/farshore/applier.yaml --key vault.key --yes",
		Args:    exactly(1),
		RunE:    func(cmd *cobra.Command, args []string) error { return t.bring(cmd, args[0], yes) },
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do it")
	return cmd
}

func (t *tool) bring(cmd *cobra.Command, path string, yes bool) error {
	ctx, talk := cmd.Context(), cmd.ErrOrStderr()
	c, err := t.vault.settings()
	if err != nil {
		return err
	}
	a, err := archive.Open(ctx, path)
	if err != nil {
		return err
	}
	store, err := destination(ctx, c, yes)
	if err != nil {
		return err
	}
	r := imported{Archive: path, Vault: a.Head.Vault, Parts: a.Head.Parts, Comparison: archive.Comparison{New: a.Objects, Bytes: a.Bytes}}
	show := func() error {
		return t.print(cmd, r, func(w io.Writer) error { return listImport(w, r, c) })
	}
	if store != nil {
		keys, err := t.vault.keys(ctx, c)
		if err != nil {
			return err
		}
		if r.Comparison, err = a.Compare(ctx, store, keys); err != nil {
			return err
		}
	}
	if !yes {
		if err := show(); err != nil {
			return err
		}
		return &fault.Fault{Code: "FS-9002", Kind: fault.Refused, Subject: "import " + path, What: "nothing was put yet", Remedy: "if that is meant, add --yes"}
	}
	bar := newProgress(talk, "import", a.Bytes)
	defer bar.end()
	if r.Comparison, err = a.Import(ctx, store, bar.add); err != nil {
		return err
	}
	r.Done = true
	return show()
}

// destination opens what an archive is brought to. Storage that holds no vault is begun as one, if that may be done.
func destination(ctx context.Context, c vault.Config, begin bool) (vault.Store, error) {
	if begin {
		store, _, err := connect.Create(ctx, c)
		return store, err
	}
	store, _, err := connect.Open(ctx, c)
	if f, ok := fault.As(err); ok && f.Code == "FS-3006" {
		return nil, nil
	}
	return store, err
}

func listImport(w io.Writer, r imported, c vault.Config) error {
	l := &lines{w: w}
	verb := "would put"
	if r.Done {
		verb = "put"
	}
	l.add("vault\t%s\t%s", r.Vault, c)
	l.add("%s\t%d objects\t%s", verb, r.New, commandline.Size(r.Bytes))
	l.add("there already\t%d objects", r.Present)
	listParts(l, r.Parts)
	if l.err != nil {
		return fmt.Errorf("print the import: %w", l.err)
	}
	return nil
}
