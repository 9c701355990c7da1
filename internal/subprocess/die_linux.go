package subprocess

import (
	"os/exec"
	"syscall"
)

// DieWithParent ties the life of what cmd will start to this process's, also when that is killed. The kernel watches
// the *thread* that forked; Go ends a thread only if a goroutine that is locked to it returns, which nothing here does
// (golang.org/issue/27505).
func DieWithParent(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
