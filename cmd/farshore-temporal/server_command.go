package main

import (
	"fmt"
	"net"

	"github.com/spf13/cobra"
)

const serverExample = `  farshore-temporal server --db /var/lib/farshore/temporal.db
  farshore-temporal server --postgres 10.0.0.5:5432 --postgres-user temporal --postgres-password-env PGPASSWORD`

func serverCommand() *cobra.Command {
	var o serverOptions
	cmd := &cobra.Command{
		Use:     "server",
		Short:   "Run Temporal with its UI in one process, on a file or on PostgreSQL",
		Example: serverExample,
		Args:    exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(); err != nil {
				return usageFault(cmd, err)
			}
			if ip := net.ParseIP(o.ip); !ip.IsLoopback() {
				cmd.PrintErrf("farshore-temporal: %s is not a loopback address: there is no TLS and no "+
					"password here, so whoever reaches it commands every failover\n", o.ip)
			}
			return serve(cmd.Context(), o, cmd.OutOrStdout())
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.store.file, "db", "", "SQLite `file` with all state; created if missing")
	f.StringVar(&o.ip, "ip", loopback, "`address` to listen on")
	f.IntVar(&o.port, "port", 7233, "port of the frontend; 0 chooses a free one")
	f.IntVar(&o.uiPort, "ui-port", 8233, "port of the UI; 0 chooses a free one")
	f.BoolVar(&o.headless, "headless", false, "serve no UI")
	f.StringVar(&o.namespace, "namespace", "farshore", "namespace to register")
	f.StringVar(&o.logLevel, "log-level", "error", "least level of the server's log: debug, info, warn or error")
	f.StringVar(&o.codecEndpoint, "codec-endpoint", "", "`URL` the UI asks to decrypt histories")
	pg := &o.store.postgres
	f.StringVar(&pg.address, "postgres", "", "PostgreSQL `host:port` to use in place of a file")
	f.StringVar(&pg.user, "postgres-user", "temporal", "PostgreSQL `user`")
	f.StringVar(&pg.passwordEnv, "postgres-password-env", "", "`name` of the environment variable with the password")
	f.StringVar(&pg.database, "postgres-db", "temporal", "`database` for workflows")
	f.StringVar(&pg.visibility, "postgres-visibility-db", "temporal_visibility", "`database` for lists and queries")
	f.StringVar(&pg.ca, "postgres-ca", "", "PEM `file` of the authority that signed PostgreSQL's certificate; turns TLS on")
	f.Int32Var(&pg.shards, "postgres-shards", 512, "history shards; the first start fixes them for ever")
	return cmd
}

// check sees that the flags make sense together.
func (o serverOptions) check() error {
	if (o.store.file == "") == (o.store.postgres.address == "") {
		return fmt.Errorf("give either --db or --postgres")
	}
	if net.ParseIP(o.ip) == nil {
		return fmt.Errorf("--ip %q is not an IP address", o.ip)
	}
	if o.namespace == "" {
		return fmt.Errorf("--namespace is empty")
	}
	if err := checkLogLevel(o.logLevel); err != nil {
		return err
	}
	if o.store.postgres.address == "" {
		return nil
	}
	return o.store.postgres.check()
}
