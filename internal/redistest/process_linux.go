package redistest

import "syscall"

// sysProcAttr ties the child's life to ours, also when we are killed. The kernel watches the *thread* that forked; Go ends
// a thread only if a goroutine that is locked to it returns, which no test here does (golang.org/issue/27505).
func sysProcAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
