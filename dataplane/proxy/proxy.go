package proxy

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"farshore/dataplane/vault"
	"farshore/fault"
)

// Config says which proxy is used, and what it is told.
type Config struct {
	URL          string   `yaml:"url"`          // http://HOST:PORT or https://HOST:PORT
	User         string   `yaml:"user"`         // none: the proxy wants no authentication
	PasswordFile string   `yaml:"passwordFile"` // mode 0600
	Direct       []string `yaml:"direct"`       // hosts that are dialled without the proxy
}

// Func tells an http.Transport which proxy a request goes through; nil: none.
type Func = func(*http.Request) (*url.URL, error)

// Dialled reads the password and gives what an http.Transport asks. Without a configuration it gives nil. The error is a
// *fault.Fault (FS-2108).
func (c *Config) Dialled() (Func, error) {
	if c == nil {
		return nil, nil
	}
	to, err := c.target()
	if err != nil {
		return nil, &fault.Fault{
			Code: "FS-2108", Kind: fault.Operator, Subject: "HTTP proxy", What: "its configuration cannot be used",
			Remedy: "correct the section proxy of the configuration file, or the flags --proxy...; see docs/operate/dataplane.md", Err: err,
		}
	}
	direct := slices.Clone(c.Direct)
	return func(r *http.Request) (*url.URL, error) {
		if slices.Contains(direct, r.URL.Hostname()) {
			return nil, nil
		}
		return to, nil
	}, nil
}

func (c *Config) target() (*url.URL, error) {
	u, err := url.Parse(c.URL)
	switch {
	case err != nil:
		return nil, fmt.Errorf("url: %w", err)
	case u.Scheme != "http" && u.Scheme != "https", u.Host == "", u.Path != "" && u.Path != "/":
		return nil, fmt.Errorf("url %q is not http://HOST:PORT", u.Redacted())
	case u.User != nil:
		return nil, fmt.Errorf("url %q holds a password: give user and passwordFile instead", u.Redacted())
	case (c.User == "") != (c.PasswordFile == ""):
		return nil, fmt.Errorf("user and passwordFile belong together")
	case c.User == "":
		return u, nil
	}
	password, err := vault.ReadSecret(c.PasswordFile)
	if err != nil {
		return nil, err
	}
	u.User = url.UserPassword(c.User, strings.TrimRight(string(password), "\r\n"))
	return u, nil
}
