package disk

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// trusted says what is wrong with a file that is to be run as a hook, or "".
func trusted(path string) (what string, err error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return "it cannot be examined", err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Mode&0o111 == 0 {
		return "it is not an executable file", nil
	}
	if st.Uid != uint32(os.Geteuid()) || st.Mode&0o022 != 0 {
		return fmt.Sprintf("others than uid %d can change it (owner %d, mode %o)", os.Geteuid(), st.Uid, st.Mode&0o777), nil
	}
	return "", nil
}

// together makes the command the head of a group of processes that ends as one.
func together(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }
}
