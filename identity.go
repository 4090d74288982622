package farshore

import (
	"fmt"
	"net/url"
	"strings"
)

// Role says what the holder of a certificate is. A name comes from a certificate and from nowhere else.
type Role string

// The roles of nodes and people.
const (
	RoleControl       Role = "control"        // the configuration server
	RoleProcessServer Role = "process-server" // receives streams and writes the journal
	RoleApplier       Role = "applier"        // turns the journal into replica disks
	RoleMasterTarget  Role = "master-target"  // the applier on premises
	RoleCollector     Role = "collector"      // the only one that deletes what retention lets go
	RoleAgent         Role = "agent"          // the mobility agent; the name is the machine's
	RoleOperator      Role = "operator"       // a person or a script at the API
)

// Identity is who the other side of a connection is, or who signed something.
type Identity struct {
	Role Role
	Name string // same form as a MachineID
}

// String writes the identity as "agent/web-01".
func (id Identity) String() string { return string(id.Role) + "/" + id.Name }

// URI is the subject alternative name that stands for the identity in a certificate: farshore://agent/web-01.
func (id Identity) URI() *url.URL {
	return &url.URL{Scheme: "farshore", Host: string(id.Role), Path: "/" + id.Name}
}

// IdentityFromURI reads an identity out of a certificate's subject alternative name.
func IdentityFromURI(u *url.URL) (Identity, error) {
	id := Identity{Role: Role(u.Host), Name: strings.TrimPrefix(u.Path, "/")}
	if u.Scheme != "farshore" || !id.Role.known() || !slugForm.MatchString(id.Name) {
		return Identity{}, fmt.Errorf("read identity %q: want farshore://ROLE/NAME", u)
	}
	return id, nil
}

func (r Role) known() bool {
	switch r {
	case RoleControl, RoleProcessServer, RoleApplier, RoleMasterTarget, RoleCollector, RoleAgent, RoleOperator:
		return true
	}
	return false
}
