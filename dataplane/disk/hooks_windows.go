package disk

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// trusted says what is wrong with a file that is to be run as a hook, or "". Who may change it is the affair of the folder's
// access list.
func trusted(path string) (what string, err error) {
	st, err := os.Stat(path)
	if err != nil {
		return "it cannot be examined", err
	}
	switch strings.ToLower(filepath.Ext(path)) {
	case ".exe", ".cmd", ".bat":
	default:
		return "it is not an executable file (.exe, .cmd or .bat)", nil
	}
	if !st.Mode().IsRegular() {
		return "it is not a file", nil
	}
	return "", nil
}

// together leaves the command as it is: killing it is enough for Windows to let go of its output.
func together(*exec.Cmd) {}
