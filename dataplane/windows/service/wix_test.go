package service

import (
	"encoding/xml"
	"os"
	"strings"
	"testing"
)

// The installer and "service install" must set up the same service: an upgrade by the one must find what the other made.
func TestTheInstallerSetsUpTheSameService(t *testing.T) {
	body, err := os.ReadFile("../../../deploy/windows/farshore-agent.wxs")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]map[string]string{} // the last element of each name, with its attributes
	for d := xml.NewDecoder(strings.NewReader(string(body))); ; {
		token, err := d.Token()
		if token == nil {
			break
		}
		if err != nil {
			t.Fatalf("the installer's source is no XML: %v", err)
		}
		if e, ok := token.(xml.StartElement); ok {
			attributes := map[string]string{}
			for _, a := range e.Attr {
				attributes[a.Name.Local] = a.Value
			}
			found[e.Name.Local] = attributes
		}
	}
	spec := Agent("", "[DataFolder]agent.yaml")
	for _, c := range []struct{ element, attribute, want string }{
		{"ServiceInstall", "Name", spec.Name},
		{"ServiceInstall", "DisplayName", spec.Display},
		{"ServiceInstall", "Description", spec.Description},
		{"ServiceInstall", "Account", "LocalSystem"},
		{"ServiceInstall", "Arguments", strings.Join(spec.Arguments[:2], " ") + ` "` + spec.Arguments[2] + `"`},
		{"ServiceControl", "Name", spec.Name},
		{"EventSource", "Name", spec.Name},
	} {
		if got := found[c.element][c.attribute]; got != c.want {
			t.Errorf("%s %s is %q, want %q", c.element, c.attribute, got, c.want)
		}
	}
}
