package rescue

import (
	"fmt"
	"testing"
)

func TestAnAddressOnTheCommandLineIsReadAsTheKernelReadsIt(t *testing.T) {
	rows := []struct{ text, want string }{
		{"", "dhcp"},
		{"dhcp", "dhcp"},
		{"::::web:eth0:dhcp", "dhcp"},
		{"10.0.0.5::10.0.0.1:255.255.255.0::eth1:off:10.0.0.2:10.0.0.3", "10.0.0.5/24 10.0.0.1 eth1 [10.0.0.2 10.0.0.3]"},
		{"10.0.0.5:::255.255.0.0", "10.0.0.5/16 invalid IP  []"},
		{"10.0.0.5", "refused"},
		{"web-01::10.0.0.1:255.255.255.0", "refused"},
		{"10.0.0.5::x:255.255.255.0", "refused"},
		{"10.0.0.5::10.0.0.1:255.0.255.0", "refused"},
	}
	for _, row := range rows {
		a, err := parseStatic(row.text)
		got := "refused"
		switch {
		case err == nil && a == nil:
			got = "dhcp"
		case err == nil:
			got = fmt.Sprintf("%v %v %s %v", a.at, a.gateway, a.card, a.names)
		}
		if got != row.want {
			t.Errorf("ip=%s: %s (%v), want %s", row.text, got, err, row.want)
		}
	}
}
