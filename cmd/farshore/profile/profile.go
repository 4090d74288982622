package profile

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"farshore"
	"farshore/dataplane/credential"
	"farshore/fault"
)

const (
	// AddressFile holds the address of the configuration server.
	AddressFile = "control"
	// Variable names the folder to use instead of the default one.
	Variable = "FARSHORE_PROFILE"
)

// Profile is an operator at one configuration server.
type Profile struct {
	Dir     string
	Address string // host:port
	Node    *credential.Node
}

// Default is the folder to use when none is named: $FARSHORE_PROFILE, else farshore in the user's configuration folder.
func Default() (string, error) {
	if dir := os.Getenv(Variable); dir != "" {
		return dir, nil
	}
	config, err := os.UserConfigDir()
	if err != nil {
		return "", unusable("the default one", "there is no place for it", err)
	}
	return filepath.Join(config, "farshore"), nil
}

// Load reads a profile. The error is a *fault.Fault (FS-9003) if there is none, or if it is not an operator's.
func Load(dir string, now func() time.Time) (*Profile, error) {
	content, err := os.ReadFile(filepath.Join(dir, AddressFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, unusable(dir, "there is none", nil)
	}
	if err != nil {
		return nil, unusable(dir, "its address cannot be read", err)
	}
	address, err := CheckAddress(string(content))
	if err != nil {
		return nil, err
	}
	node, err := credential.Load(dir, now)
	if err != nil {
		return nil, unusable(dir, "its identity cannot be used", err)
	}
	id, err := node.Identity()
	if err != nil {
		return nil, unusable(dir, "its identity cannot be used", err)
	}
	if id.Role != farshore.RoleOperator {
		return nil, unusable(dir, fmt.Sprintf("it belongs to %s, not to an operator", id), nil)
	}
	return &Profile{Dir: dir, Address: address, Node: node}, nil
}

// Save writes the address of the configuration server into a profile's folder. It is on stable storage when Save returns.
func Save(dir, address string) error {
	address, err := CheckAddress(address)
	if err != nil {
		return err
	}
	if err := write(dir, address+"\n"); err != nil {
		return unusable(dir, "the address cannot be saved", err)
	}
	return nil
}

// CheckAddress checks that an address has the form host:port, and trims it. The error is a *fault.Fault (FS-9003).
func CheckAddress(address string) (string, error) {
	address = strings.TrimSpace(address)
	host, port, err := net.SplitHostPort(address)
	if err == nil && (host == "" || port == "") {
		err = errors.New("host or port is missing")
	}
	if err != nil {
		return "", &fault.Fault{
			Code: "FS-9003", Kind: fault.Operator, Subject: fmt.Sprintf("address %q of the configuration server", address),
			What: "it does not have the form host:port", Remedy: "write it like control.example.org:443 or [2001:db8::1]:443", Err: err,
		}
	}
	return address, nil
}

func write(dir, content string) (err error) {
	tmp, err := os.CreateTemp(dir, "."+AddressFile+"-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = tmp.WriteString(content)
	err = errors.Join(err, tmp.Sync(), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), filepath.Join(dir, AddressFile))
	}
	if err != nil {
		return errors.Join(err, os.Remove(tmp.Name()))
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func unusable(dir, what string, err error) error {
	return &fault.Fault{
		Code: "FS-9003", Kind: fault.Operator, Subject: "profile " + dir, What: what, Err: err,
		Remedy: "ask an operator for: farshore token create --role operator --name NAME; then run the farshore login that it prints",
	}
}
