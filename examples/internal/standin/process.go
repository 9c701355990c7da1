package standin

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/msal-redis/msal-redis-go/entratest"
	"github.com/msal-redis/msal-redis-go/internal/subprocess"
)

// placeVariable tells a process where what stands in for the real services is.
const placeVariable = "EXAMPLE_STANDINS"

// place is where those are: addresses by host, "" being Entra ID's, and the certificates of all in PEM.
type place struct {
	Addresses    map[string]string
	Certificates []byte
}

// place is where what stands in for the real services is, as text.
func (w *World) place() string {
	at := place{map[string]string{"": w.Entra.Host()}, w.Entra.CAPEM()}
	for _, s := range w.servers {
		for _, host := range s.hosts {
			at.Addresses[host] = s.address
		}
		at.Certificates = append(at.Certificates,
			pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.certificate.Raw})...)
	}
	text, _ := json.Marshal(at) // texts always become JSON
	return string(text)
}

// Processes runs the example's main in n processes at once, which find this world, and writes what each has said.
func (w *World) Processes(ctx context.Context, out io.Writer, n int) error {
	said := make([]bytes.Buffer, n)
	group, all := errgroup.WithContext(ctx)
	for i := range said {
		group.Go(func() error {
			p := exec.CommandContext(all, os.Args[0])
			p.Env = append(os.Environ(), w.Environ()...)
			p.Stdout, p.Stderr = &said[i], &said[i]
			subprocess.DieWithParent(p)
			if err := p.Run(); err != nil {
				return fmt.Errorf("process %d: %w: %s", i+1, err, &said[i])
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return errors.Join(ctx.Err(), err)
	}
	for i := range said {
		fmt.Fprintf(out, "process %d\n%s", i+1, &said[i])
	}
	return nil
}

// Settle makes this process one that finds the world of another, if it has that one's Environ. It ends a process that
// should and cannot. Stage calls it, too.
func Settle(e Example) (settled bool) {
	settled, err := e.settle()
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", e.Name, err)
		os.Exit(2)
	}
	return settled
}

func (e Example) settle() (settled bool, err error) {
	text := os.Getenv(placeVariable)
	if text == "" {
		return false, nil
	}
	var at place
	if err := json.Unmarshal([]byte(text), &at); err != nil {
		return false, err
	}
	transport, err := entratest.Transport(at.Addresses[""], at.Certificates)
	if err != nil {
		return false, err
	}
	bring(transport, func(host string) string { return at.Addresses[host] })
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(at.Certificates)
	transport.TLSClientConfig.RootCAs = pool
	http.DefaultTransport = transport
	patient(e.Cache)
	return true, nil
}

// TestMain is that of a test whose example runs in several processes: these are the test's binary.
func TestMain(m *testing.M, e Example, main func()) {
	if Settle(e) {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}
