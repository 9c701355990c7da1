//go:build !linux

package subprocess

import "os/exec"

// DieWithParent does nothing where the kernel has nothing for it.
func DieWithParent(*exec.Cmd) {}
