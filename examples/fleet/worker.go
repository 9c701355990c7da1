package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	"github.com/redis/go-redis/v9"

	"github.com/msal-redis/msal-redis-go/entratest"
	"github.com/msal-redis/msal-redis-go/msalredis"
	"github.com/msal-redis/msal-redis-go/serializer"
)

// work is the life of a worker process: one instance of the scaled-out service.
func work(in io.Reader, out io.Writer) int {
	// A terminal sends Ctrl-C to everyone; who ends when is the parent's affair.
	signal.Ignore(os.Interrupt)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()

	lines, answers := json.NewDecoder(in), json.NewEncoder(out)
	var s setup
	if err := lines.Decode(&s); err != nil {
		return exitTrouble
	}
	svc, err := newService(s)
	if err != nil {
		_ = answers.Encode(reply{Trouble: err.Error()})
		return exitTrouble
	}
	defer svc.close()
	if answers.Encode(reply{}) != nil {
		return exitTrouble
	}

	// Loads are read while one runs, so that the parent's death is noticed at once.
	loads := make(chan load)
	go func() {
		defer func() {
			cancel()
			time.Sleep(5 * time.Second) // whatever hangs in the clean-up
			os.Exit(exitTrouble)
		}()
		for {
			var l load
			if lines.Decode(&l) != nil {
				return
			}
			select {
			case loads <- l:
			case <-ctx.Done():
				return
			}
		}
	}()
	for {
		select {
		case l := <-loads:
			if answers.Encode(reply{result: svc.run(ctx, l)}) != nil {
				return exitTrouble
			}
		case <-ctx.Done():
			return exitKept
		}
	}
}

// service is a process that needs tokens.
type service struct {
	setup
	wire    *wire
	rdb     *redis.Client
	cache   *msalredis.Cache
	clients map[string]confidential.Client // by tenant
}

func newService(s setup) (*service, error) {
	base := http.DefaultTransport.(*http.Transport).Clone()
	if s.Entra != "" {
		var err error
		if base, err = entratest.Transport(s.Entra, s.CA); err != nil {
			return nil, err
		}
	}
	svc := &service{setup: s, clients: map[string]confidential.Client{}}
	svc.wire = &wire{base: base, worker: s.Worker, mark: s.Entra != ""}
	opts, err := redis.ParseURL(s.Redis)
	if err != nil {
		return nil, fmt.Errorf("worker: the Redis URL: %w", err)
	}
	opts.Network, opts.Addr = "tcp", s.RedisAddr
	// An operation on a dead Redis fails at once instead of after twenty dials. The naive accessor would wait for all
	// of them in every call, and the demonstration take minutes.
	opts.MaxRetries, opts.DialerRetries = -1, 1
	opts.ReadTimeout = callTimeout
	svc.rdb = redis.NewClient(opts)
	if s.System == thisLibrary {
		keys, err := serializer.ParseKeys(s.Keys)
		if err != nil {
			return nil, err
		}
		sealer, err := serializer.NewEncrypted(keys...)
		if err != nil {
			return nil, err
		}
		logger := slog.New(slog.DiscardHandler)
		if s.Verbose {
			logger = slog.New(slog.NewTextHandler(os.Stderr, nil)).With("worker", s.Worker)
		}
		svc.cache, err = msalredis.New(svc.rdb, sealer, &msalredis.Options{
			Prefix: s.Prefix, LockTTL: s.LockTTL, Logger: logger,
			// Here all instances, Redis and Entra ID share a few processors, and perhaps with other programs. A Redis that
			// is only slow must not be taken for one that is away: without Redis each instance asks for itself. One that
			// is away resets its connections here, which is noticed at once. A service need not set this.
			OpTimeout: callTimeout,
		})
		if err != nil {
			return nil, err
		}
	}
	return svc, nil
}

// client is the MSAL client of a tenant. This is all that differs between the three.
func (s *service) client(tenant string) (confidential.Client, error) {
	cred, err := confidential.NewCredFromSecret(s.Secret)
	if err != nil {
		return confidential.Client{}, err
	}
	options := []confidential.Option{confidential.WithHTTPClient(&http.Client{Transport: s.wire})}
	switch {
	case s.System == naiveRedis:
		options = append(options, confidential.WithCache(&naive{s.rdb, s.Prefix}))
	case s.System == thisLibrary && s.WithoutGate:
		options = append(options, confidential.WithCache(s.cache))
	case s.System == thisLibrary:
		options = []confidential.Option{
			confidential.WithCache(s.cache),
			// Outside of demonstrations: s.cache.HTTPClient().
			confidential.WithHTTPClient(&http.Client{Transport: s.cache.Transport(s.wire)}),
		}
	}
	return confidential.New("https://login.microsoftonline.com/"+tenant, s.ClientID, cred, options...)
}

func (s *service) close() {
	if s.cache != nil {
		_ = s.cache.Close()
	}
	_ = s.rdb.Close()
}
