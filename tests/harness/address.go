package harness

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"os"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// Address is how a client reaches Redis, from this process or, as JSON, from another.
type Address struct {
	Addrs                     []string
	Cluster, Replicas         bool   // Replicas: what may be read there is read there
	Master                    string // of Sentinel, whose addresses Addrs then are
	Protocol                  int
	Username, Password        string
	PasswordFile              string // instead of Password; read for each connection
	ConnMaxLifetime           time.Duration
	CAFile, CertFile, KeyFile string // PEM
	Silent                    bool   // go-redis says nothing of itself, which the rules of docs/redis.md leave out
}

// options are those that docs/redis.md tells users to set, and no more.
func (a Address) options() (*redis.UniversalOptions, error) {
	o := &redis.UniversalOptions{
		Addrs: a.Addrs, IsClusterMode: a.Cluster, ContextTimeoutEnabled: a.Cluster,
		ReadOnly: a.Replicas, RouteRandomly: a.Replicas, MasterName: a.Master, Protocol: a.Protocol,
		Username: a.Username, Password: a.Password, ConnMaxLifetime: a.ConnMaxLifetime,
		DisableIdentity: a.Silent,
	}
	if a.Silent {
		o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	}
	if a.PasswordFile != "" {
		o.CredentialsProviderContext = func(context.Context) (string, string, error) {
			password, err := os.ReadFile(a.PasswordFile)
			return a.Username, string(password), err
		}
	}
	if a.CAFile != "" {
		pem, err := os.ReadFile(a.CAFile)
		if err != nil {
			return nil, err
		}
		o.TLSConfig = &tls.Config{RootCAs: x509.NewCertPool()}
		o.TLSConfig.RootCAs.AppendCertsFromPEM(pem)
	}
	if a.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(a.CertFile, a.KeyFile)
		if err != nil {
			return nil, err
		}
		o.TLSConfig.Certificates = []tls.Certificate{pair}
	}
	return o, nil
}

func (a Address) open(change ...func(*redis.UniversalOptions)) (redis.UniversalClient, error) {
	o, err := a.options()
	if err != nil {
		return nil, err
	}
	for _, f := range change {
		f(o)
	}
	return redis.NewUniversalClient(o), nil
}
