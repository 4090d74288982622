package disk

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/windows"

	"farshore/dataplane/windows/access"
)

// trusted says what is wrong with a file that is to be run as a hook, or "". Whoever can change its folder can put another in
// its place.
func trusted(path string) (what string, err error) {
	st, err := os.Stat(path)
	if err != nil {
		return "it cannot be examined", err
	}
	if !st.Mode().IsRegular() {
		return "it is not a file", nil
	}
	switch strings.ToLower(filepath.Ext(path)) {
	case ".exe", ".cmd", ".bat":
	default:
		return "it is not an executable file (.exe, .cmd or .bat)", nil
	}
	for _, at := range []string{path, filepath.Dir(path)} {
		what, err := access.Examine(at)
		if err != nil {
			return "its access list cannot be read", err
		}
		if what != "" {
			return "of " + at + ": " + what, nil
		}
	}
	return "", nil
}

// together makes the command end with all that it has started: killing a command file alone would leave what it runs.
func together(cmd *exec.Cmd) {
	cmd.Cancel = func() error {
		dir, err := windows.GetSystemDirectory()
		if err == nil {
			end := exec.Command(filepath.Join(dir, "taskkill.exe"), "/F", "/T", "/PID", strconv.Itoa(cmd.Process.Pid)) //nolint:noctx // it ends by itself
			err = end.Run()
		}
		if err == nil {
			return nil
		}
		return errors.Join(err, cmd.Process.Kill())
	}
}
