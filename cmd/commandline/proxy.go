package commandline

import (
	"github.com/spf13/cobra"

	"farshore/dataplane/proxy"
)

// ProxyFlags adds the flags that name an HTTP proxy to a command that has no configuration file. What it returns reads
// them; the error is a *fault.Fault (FS-2108).
func ProxyFlags(cmd *cobra.Command) func() (proxy.Func, error) {
	var c proxy.Config
	f := cmd.Flags()
	f.StringVar(&c.URL, "proxy", "", "`URL` of the HTTP proxy to the configuration server: http://HOST:PORT")
	f.StringVar(&c.User, "proxy-user", "", "`NAME` for basic authentication at the proxy")
	f.StringVar(&c.PasswordFile, "proxy-password-file", "", "`FILE` with the password, mode 0600")
	return func() (proxy.Func, error) {
		if !f.Changed("proxy") && !f.Changed("proxy-user") && !f.Changed("proxy-password-file") {
			return nil, nil
		}
		return c.Dialled()
	}
}
