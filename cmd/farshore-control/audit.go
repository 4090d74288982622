package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"farshore/cmd/commandline"
	"farshore/control/audit"
)

// verdict is what audit prints.
type verdict struct {
	File    string `json:"file"`
	Entries uint64 `json:"entries"`
	Hash    string `json:"hash"` // of the last line: note it elsewhere, and a log that was cut short shows
}

func newAudit() *cobra.Command {
	return &cobra.Command{
		Use:   "audit",
		Short: "Verify the audit log",
		Long: `Read the audit log from its beginning and verify that every line follows the one before. It prints the hash of the
last line: noted elsewhere, it proves later that nothing was cut off. The server may run meanwhile.`,
		Example: `  farshore-control audit -o json`,
		Args:    commandline.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			c, err := configured(cmd)
			if err != nil {
				return err
			}
			file, err := os.Open(c.AuditFile())
			if err != nil {
				return fmt.Errorf("verify the audit log: %w", err)
			}
			defer func() { err = errors.Join(err, file.Close()) }()
			tail, err := audit.Verify(c.AuditFile(), file)
			if err != nil {
				return err
			}
			return show(cmd, verdict{File: c.AuditFile(), Entries: tail.Seq, Hash: tail.Hash}, []string{
				fmt.Sprintf("%s: %d entries, each follows the one before; the last is %s", c.AuditFile(), tail.Seq, tail.Hash),
			})
		},
	}
}
