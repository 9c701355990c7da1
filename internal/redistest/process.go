package redistest

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/msal-redis/msal-redis-go/internal/subprocess"
)

const (
	startTimeout = 20 * time.Second // a loaded machine with two cores; the usual start takes 20 ms
	stopTimeout  = 5 * time.Second
)

// process is one running redis-server and the means to start it again at the same address.
type process struct {
	binary string
	dir    string
	port   int
	args   []string
	tls    *tls.Config // for the readiness check; nil: plain

	cmd  *exec.Cmd
	done chan struct{} // closed when the process has ended
}

// errPortTaken: another process took the port between our look and the server's bind.
var errPortTaken = errors.New("the port was taken meanwhile")

func findBinary(name, debianPackage string) (string, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("redistest: %s is not installed; on Debian and Ubuntu: apt-get install %s", name, debianPackage)
	}
	return path, nil
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

func (p *process) addr() string { return fmt.Sprintf("127.0.0.1:%d", p.port) }

func (p *process) logFile() string { return filepath.Join(p.dir, "redis.log") }

func (p *process) start() error {
	cmd := exec.Command(p.binary, p.args...)
	cmd.Dir = p.dir
	subprocess.DieWithParent(cmd)
	var out bytes.Buffer // complaints about the configuration go to standard output, not to the log file
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("redistest: start %s: %w", p.binary, err)
	}
	done := make(chan struct{})
	go func() { _ = cmd.Wait(); close(done) }()
	p.cmd, p.done = cmd, done

	pause := time.Millisecond
	for deadline := time.Now().Add(startTimeout); ; {
		if ping(p.addr(), p.tls) == nil {
			// Somebody else's server on the port we lost would answer too: then ours has ended, or is about to.
			select {
			case <-done:
			default:
				return nil
			}
		}
		select {
		case <-done:
			text, _ := os.ReadFile(p.logFile())
			text = append(text, out.Bytes()...)
			if bytes.Contains(text, []byte("Address already in use")) {
				return errPortTaken
			}
			return fmt.Errorf("redistest: %s ended at once: %s", p.binary, bytes.TrimSpace(text))
		case <-time.After(pause):
			pause = min(2*pause, 20*time.Millisecond)
		}
		if time.Now().After(deadline) {
			p.kill()
			text, _ := os.ReadFile(p.logFile())
			return fmt.Errorf("redistest: %s did not answer within %v: %s", p.binary, startTimeout, bytes.TrimSpace(text))
		}
	}
}

// ping asks whether the server answers commands. A refusal for lack of a password is an answer; "LOADING" is not.
func ping(addr string, conf *tls.Config) error {
	const limit = 500 * time.Millisecond
	d := &net.Dialer{Timeout: limit}
	var conn net.Conn
	var err error
	if conf != nil {
		conn, err = tls.DialWithDialer(d, "tcp", addr, conf)
	} else {
		conn, err = d.Dial("tcp", addr)
	}
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(limit))
	if _, err := conn.Write([]byte("PING\r\n")); err != nil {
		return err
	}
	answer := make([]byte, 64)
	n, err := conn.Read(answer)
	if err != nil {
		return err
	}
	answer = answer[:n]
	if bytes.HasPrefix(answer, []byte("+PONG")) || bytes.HasPrefix(answer, []byte("-NOAUTH")) {
		return nil
	}
	return fmt.Errorf("unexpected answer %q", answer)
}

func (p *process) running() bool {
	if p.cmd == nil {
		return false
	}
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

func (p *process) signal(s syscall.Signal) error {
	if !p.running() {
		return errors.New("redistest: the server is not running")
	}
	return p.cmd.Process.Signal(s)
}

// kill ends the process without giving it a word; it works on a frozen one too.
func (p *process) kill() {
	if p.running() {
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

// stop lets the process end in order.
func (p *process) stop() {
	if !p.running() {
		return
	}
	_ = p.cmd.Process.Signal(syscall.SIGCONT)
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(stopTimeout):
		p.kill()
	}
}
