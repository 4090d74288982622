package qemu

import (
	"regexp"
	"testing"
)

func TestLinesAreFoundAmongControlCharacters(t *testing.T) {
	console := []byte("\x1b[H\x1b[JBooting\r\n\x00[  1.0] x\nhost login: ")
	for _, row := range []struct{ pattern, want string }{{`^Booting$`, "Booting"}, {`login: $`, "host login: "}} {
		if got, ok := match(console, regexp.MustCompile(row.pattern)); !ok || got != row.want {
			t.Errorf("match(%s) = %q, %v; want %q", row.pattern, got, ok, row.want)
		}
	}
	if _, ok := match(console, regexp.MustCompile("panic")); ok {
		t.Error("a line was found that is not there")
	}
}
