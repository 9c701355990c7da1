package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"golang.org/x/sync/errgroup"
)

const help = `Reads a secret of a Key Vault in two processes, each with two credentials. Entra ID, Redis and the
Key Vault are emulated, unless the environment names real ones:

  AZURE_TENANT_ID, AZURE_CLIENT_ID, AZURE_CLIENT_SECRET
                    the app registration, which may read the vault's secrets (Key Vault Secrets User)
  KEY_VAULT_URL     as in https://contoso.vault.azure.net
  KEY_VAULT_SECRET  the secret's name
  REDIS_URL         as in rediss://:PASSWORD@NAME.REGION.redis.azure.net:10000
  TOKEN_CACHE_KEYS  the sealing keys, the same on all instances: 2026a: and the output of openssl rand -base64 32

Usage: go run ./examples/azuresdk`

// processMark makes a process one of the two.
const processMark = "AZURESDK_PROCESS"

func main() {
	flag.Usage = func() { fmt.Fprintln(flag.CommandLine.Output(), help) }
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := start(ctx, os.Getenv, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "azuresdk:", err)
		stop()
		os.Exit(1)
	}
}

func start(ctx context.Context, env func(string) string, out io.Writer) error {
	if env(processMark) != "" {
		network, options, err := network(env)
		if err != nil {
			return err
		}
		return read(ctx, env, network, options, out)
	}
	w, err := newWorld(env)
	if err != nil {
		return err
	}
	defer w.close()
	return w.run(ctx, out)
}

// run is the two processes, both at once: the second finds the first's request under way, or its answer.
func (w *world) run(ctx context.Context, out io.Writer) error {
	var outs [2]bytes.Buffer
	group, all := errgroup.WithContext(ctx)
	for i := range outs {
		group.Go(func() error {
			p := exec.CommandContext(all, os.Args[0])
			p.Env = append(append(os.Environ(), w.env...), fmt.Sprint(processMark, "=", i+1))
			p.Stdout, p.Stderr = &outs[i], &outs[i]
			if err := p.Run(); err != nil {
				return fmt.Errorf("process %d: %w: %s", i+1, err, outs[i].Bytes())
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return errors.Join(err, ctx.Err())
	}
	for i := range outs {
		fmt.Fprintf(out, "process %d\n%s", i+1, &outs[i])
	}
	if w.entra != nil {
		fmt.Fprintf(out, "\nEntra ID (emulated): token requests: %d\nKey Vault (a stand-in): reads: %d\n",
			w.entra.Count(), w.reads.Load())
	}
	return nil
}
