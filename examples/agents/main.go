// Command agents takes tokens as an agent of Microsoft Entra Agent ID: in the agent's own name, and in a user's. The
// blueprint proves itself and gets a proof for the agent (fmi_path); with it the agent gets its own tokens, and with
// those a user's (user_fic). All instances together send one request for each.
//
//	go run ./examples/agents
//
// This file is what to copy. emulated.go makes it run with Go alone; it is not part of the service.
package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"

	"github.com/msal-redis/msal-redis-go/connect"
	"github.com/msal-redis/msal-redis-go/msalredis"
	"github.com/msal-redis/msal-redis-go/serializer"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "agents:", err)
		stop()
		os.Exit(1)
	}
}

// options are the Cache's. Services that share a Redis have a prefix each.
var options = msalredis.Options{Prefix: "agents"}

// exchange is what a token is for that serves as a proof.
var exchange = []string{"api://AzureADTokenExchange/.default"}

// run is the service.
func run(ctx context.Context, out io.Writer) error {
	rdb, err := connect.Open(os.Getenv("REDIS_URL"), nil)
	if err != nil {
		return fmt.Errorf("REDIS_URL: %w", err)
	}
	defer rdb.Close()
	keys, err := serializer.ParseKeys(os.Getenv("TOKEN_CACHE_KEYS"))
	if err != nil {
		return fmt.Errorf("TOKEN_CACHE_KEYS: %w", err)
	}
	sealer, err := serializer.NewEncrypted(keys...)
	if err != nil {
		return fmt.Errorf("TOKEN_CACHE_KEYS: %w", err)
	}
	tokens, err := msalredis.New(rdb, sealer, &options)
	if err != nil {
		return err
	}
	defer tokens.Close()
	authority := "https://login.microsoftonline.com/" + os.Getenv("AZURE_TENANT_ID")
	agentID := os.Getenv("AGENT_CLIENT_ID")

	// The blueprint. It may prove itself without a secret: see examples/secretless.
	secret, err := confidential.NewCredFromSecret(os.Getenv("AZURE_CLIENT_SECRET"))
	if err != nil {
		return fmt.Errorf("AZURE_CLIENT_SECRET: %w", err)
	}
	blueprint, err := tokens.NewConfidential(authority, os.Getenv("AZURE_CLIENT_ID"), secret)
	if err != nil {
		return err
	}

	// The agent, which the blueprint proves. MSAL asks for the proof at each token request, and the cache has it.
	agent, err := tokens.NewConfidential(authority, agentID, confidential.NewCredFromAssertionCallback(
		func(ctx context.Context, _ confidential.AssertionRequestOptions) (string, error) {
			result, err := blueprint.AcquireTokenByCredential(ctx, exchange, confidential.WithFMIPath(agentID))
			return result.AccessToken, err
		}))
	if err != nil {
		return err
	}
	own, err := agent.AcquireTokenByCredential(ctx, exchange)
	if err != nil {
		return fmt.Errorf("the agent's own token: %w", err)
	}
	show(out, "the agent's own", own)

	// The user for whom the agent works, and who has allowed it to.
	graph := []string{"https://graph.microsoft.com/.default"}
	users, err := agent.AcquireTokenByUserFederatedIdentityCredential(ctx, graph, own.AccessToken,
		confidential.WithUserFICUsername(os.Getenv("AGENT_USER")))
	if err != nil {
		return fmt.Errorf("the user's token: %w", err)
	}
	show(out, "the user's", users)

	// From then on as for any user who has signed in, on this instance and on the others.
	again, err := agent.AcquireTokenSilent(ctx, graph, confidential.WithSilentAccount(users.Account))
	if err != nil {
		return fmt.Errorf("the user's token again: %w", err)
	}
	show(out, "once more the user's", again)
	return nil
}

func show(out io.Writer, whose string, result confidential.AuthResult) {
	fingerprint := sha256.Sum256([]byte(result.AccessToken))
	fmt.Fprintf(out, "%s token: %x, good until %s\n", whose, fingerprint[:6], result.ExpiresOn.Format(time.TimeOnly))
}
