package vsphere

import (
	"cmp"
	"fmt"
	"net/url"
	"os"
	"regexp"
	"strings"
	"time"

	"farshore/fault"
)

// Config names the vCenters that machines come home to.
type Config struct {
	VCenters map[string]VCenter `yaml:"vcenters,omitempty"`
	// PollEvery is the time between two looks at a task; 0 means 2 s.
	PollEvery time.Duration `yaml:"pollEvery,omitempty"`
}

// VCenter is how one vCenter is reached. The password is given by reference: a file, or a variable of the environment.
type VCenter struct {
	URL string `yaml:"url"` // https://vcenter.example.com
	// Thumbprint is the SHA-256 of the server's certificate in hexadecimal; CAFile holds, as PEM, the CA that signed it.
	// Neither: the CAs of this host are trusted.
	Thumbprint          string `yaml:"thumbprint,omitempty"`
	CAFile              string `yaml:"caFile,omitempty"`
	Username            string `yaml:"username"`
	PasswordFile        string `yaml:"passwordFile,omitempty"`
	PasswordEnvironment string `yaml:"passwordEnvironment,omitempty"`
	// Devices is the folder in which the master target's system shows its disks by id; empty: /dev/disk/by-id.
	Devices string `yaml:"devices,omitempty"`
}

const (
	defaultPollEvery = 2 * time.Second
	defaultDevices   = "/dev/disk/by-id"
)

var thumbprintForm = regexp.MustCompile(`^([0-9A-Fa-f]{2}:){31}[0-9A-Fa-f]{2}$`)

// Check says what is wrong with the configuration, without a request. The error is a *fault.Fault (FS-5405).
func (c Config) Check() error {
	for name, v := range c.VCenters {
		if what := v.wrong(); what != "" {
			return unusable(name, what, nil)
		}
	}
	return nil
}

func (v VCenter) wrong() string {
	at, err := url.Parse(v.URL)
	switch {
	case err != nil || at.Scheme != "https" || at.Host == "" || at.User != nil || strings.Trim(at.Path, "/") != "":
		return fmt.Sprintf("url %q is not of the form https://HOST", v.URL)
	case v.Thumbprint != "" && v.CAFile != "":
		return "give thumbprint or caFile, not both"
	case v.Thumbprint != "" && !thumbprintForm.MatchString(v.Thumbprint):
		return "thumbprint is not a SHA-256 of the form AB:CD:... (32 bytes)"
	case v.Username == "":
		return "username is missing"
	case (v.PasswordFile == "") == (v.PasswordEnvironment == ""):
		return "give passwordFile or passwordEnvironment, one of them"
	}
	return ""
}

// user reads the credential. It is read at each login, so a changed password needs no restart.
func (v VCenter) user(name string) (*url.Userinfo, error) {
	if v.PasswordEnvironment != "" {
		password := os.Getenv(v.PasswordEnvironment)
		if password == "" {
			return nil, unusable(name, "the variable "+v.PasswordEnvironment+" that should hold the password is not set", nil)
		}
		return url.UserPassword(v.Username, password), nil
	}
	raw, err := os.ReadFile(v.PasswordFile)
	if err != nil {
		return nil, unusable(name, "the file of the password cannot be read", err)
	}
	return url.UserPassword(v.Username, strings.TrimRight(string(raw), "\r\n")), nil
}

func (v VCenter) devices() string { return cmp.Or(v.Devices, defaultDevices) }

func unusable(name, what string, err error) error {
	return &fault.Fault{
		Code: "FS-5405", Kind: fault.Operator, Subject: "vCenter " + name, What: what,
		Remedy: "correct the section vsphere of the configuration server; docs/operate/failback.md shows each key", Err: err,
	}
}
