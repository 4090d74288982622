package hub

import "testing"

func TestAgentsDialAHostByNameOrAddressAndNoOther(t *testing.T) {
	for address, want := range map[string]bool{
		"ps-1.example.com:9443": true, "10.0.0.7:9443": true, "[fd00::7]:9443": true,
		":9443": false, "0.0.0.0:9443": false, "[::]:9443": false, "10.0.0.7": false, "10.0.0.7:": false, "": false,
	} {
		if got := Dialable(address); got != want {
			t.Errorf("%q: %v, want %v", address, got, want)
		}
	}
}
