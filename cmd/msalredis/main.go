// Command msalredis is for the person on call: is a Redis fit for the token cache (doctor), what is in it (list, show,
// watch), how does it get out (purge), and new keys (keygen, reseal). docs/operations.md has examples.
//
// It reads what the library writes by the library's own parsers (internal/layout, serializer) and removes by its own
// methods, so that it does not know a second truth.
package main

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/msal-redis/msal-redis-go/connect"
	"github.com/msal-redis/msal-redis-go/entralogin"
	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/serializer"
)

func main() {
	logging.Disable() // go-redis's remarks would stand between the lines of a table
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second ctrl-C ends the process at once
	os.Exit(run(ctx, world{os.Args[1:], os.Getenv, os.Stdin, os.Stdout, os.Stderr, time.Now}))
}

// world is what a run sees of the machine.
type world struct {
	args   []string
	env    func(string) string
	in     io.Reader
	out    io.Writer // what was asked for
	report io.Writer // progress and errors
	now    func() time.Time
}

// The exit codes. They are part of what scripts may rely on.
const (
	exitDone        = 0
	exitFailed      = 1   // Redis could not be reached, or refused
	exitUsage       = 2   // a flag, an argument or an environment variable must be changed
	exitFinding     = 3   // done, and what was found is not as it should be
	exitInterrupted = 130 // ctrl-C; what was done until then stays done
)

// usageError is one that the caller's command line or environment must change for.
type usageError struct{ error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// finding ends a command that did what it should and has found something that is not as it should be.
type finding struct{ text string }

func (f finding) Error() string { return f.text }

// unfinished ends a command in the middle. How far it came is said also if ctrl-C was the reason.
type unfinished struct {
	far   string
	error // why
}

func (u unfinished) Error() string { return u.far + ": " + u.error.Error() }
func (u unfinished) Unwrap() error { return u.error }

func run(ctx context.Context, w world) int {
	root := newRoot(w)
	err := root.ExecuteContext(ctx)
	var usage usageError
	var found finding
	var part unfinished
	switch {
	case err == nil:
		return exitDone
	case ctx.Err() != nil && errors.As(err, &part):
		say(w.report, "msalredis: interrupted: %s", part.far)
		return exitInterrupted
	case ctx.Err() != nil:
		say(w.report, "msalredis: interrupted")
		return exitInterrupted
	case errors.As(err, &found):
		say(w.report, "msalredis: %v", err)
		return exitFinding
	}
	say(w.report, "msalredis: %v", err)
	if errors.As(err, &usage) || errors.Is(err, connect.ErrURL) || errors.Is(err, serializer.ErrKeys) {
		return exitUsage
	}
	return exitFailed
}

// command is what every subcommand has at hand.
type command struct {
	world
	url, prefix, ca  string
	named            string // what url was given as, if not as --redis
	entra, json      bool
	skipVerification bool
}

func newRoot(w world) *cobra.Command {
	c := &command{world: w}
	root := &cobra.Command{
		Use:   "msalredis",
		Short: "Look after a token cache of msal-redis-go in Redis",
		Long: `msalredis is for the person on call: is the Redis fit for the cache, what is in
it, and how to get it out.

Environment, the same as the service's own:
  REDIS_URL         the Redis, as package connect reads it:
                    rediss://user:password@host:6380
  TOKEN_CACHE_KEYS  the sealing keys, "2026b:BASE64,2026a:BASE64", the newest
                    first; without them names and scopes stay sealed, and list
                    and show give sizes and times only

Exit codes:
  0    done
  1    failed: Redis could not be reached, or refused
  2    usage: a flag, an argument or an environment variable must be changed;
       the error says which
  3    done, and something is not as it should be: doctor found a failure, show
       or purge found nothing, purge could not read values that may match,
       reseal had to leave values as they are
  130  interrupted; what was done until then stays done

Tokens and secrets are never shown. Names of users, tenants and apps are.`,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetArgs(idsLast(w.args))
	root.SetIn(w.in)
	root.SetOut(w.out)
	root.SetErr(w.report)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usagef("%s; see %s --help", misused(err), cmd.CommandPath())
	})
	f := root.PersistentFlags()
	f.StringVar(&c.url, "redis", "", "`URL` of Redis (default $REDIS_URL, which unlike a flag other users of this "+
		"machine do not see)")
	f.StringVar(&c.prefix, "prefix", "msal", "Options.Prefix of the cache")
	f.StringVar(&c.ca, "ca", "", "`file` with the CA certificate of Redis, PEM (default: the system's CAs)")
	f.BoolVar(&c.skipVerification, "insecure-skip-verify", false, "do not verify the certificate of Redis")
	f.BoolVar(&c.entra, "entra", false,
		"log in to Azure Managed Redis with Entra ID, by azidentity's DefaultAzureCredential")
	f.BoolVar(&c.json, "json", false, "JSON for scripts instead of tables")
	root.AddCommand(c.keygen(), c.doctor(), c.list(), c.show(), c.purge(), c.reseal(), c.watch())
	root.SetUsageTemplate(strings.NewReplacer(".FlagUsages", ".FlagUsagesWrapped 80",
		"for more information about", "for more on").Replace(root.UsageTemplate()))
	root.InitDefaultCompletionCmd()
	root.InitDefaultHelpCmd()
	for _, sub := range root.Commands() {
		checkArgs(sub)
		switch sub.Name() {
		case "keygen":
			hideAllBut(sub, "json")
		case "completion", "help":
			hideAllBut(sub)
		}
	}
	// cobra's own error for an unknown command; with Args set on the root it would not be made.
	root.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return usagef("unknown command%s; see msalredis --help", shown(args[0]))
		}
		return nil
	}
	version := root.Flags().Bool("version", false, "print the version of msalredis and of its Go")
	root.RunE = func(cmd *cobra.Command, _ []string) error {
		if *version {
			return c.version()
		}
		return cmd.Help()
	}
	return root
}

// hideAllBut keeps those of the root's flags that a command does not use out of its help and completion. They are taken
// all the same: a wrapper may give every command the same ones. The hidden copy of a flag sets the same value.
func hideAllBut(cmd *cobra.Command, used ...string) {
	cmd.Root().PersistentFlags().VisitAll(func(f *pflag.Flag) {
		if !slices.Contains(used, f.Name) {
			hidden := *f
			hidden.Hidden = true
			cmd.PersistentFlags().AddFlag(&hidden)
		}
	})
}

// checkArgs lets a command, and those below it, refuse arguments without cobra's words, which quote them.
func checkArgs(cmd *cobra.Command) {
	if checked := cmd.Args; checked != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			switch {
			case checked(cmd, args) == nil:
				return nil
			case len(args) == 0:
				return usagef("an argument is missing; see %s --help", cmd.CommandPath())
			}
			return usagef("unexpected argument%s; see %s --help", shown(args[len(args)-1]), cmd.CommandPath())
		}
	}
	for _, sub := range cmd.Commands() {
		checkArgs(sub)
	}
}

// misused says what is wrong with a flag, and not with which value: it may be a URL in the wrong place.
func misused(err error) string {
	var (
		unknown *pflag.NotExistError
		missing *pflag.ValueRequiredError
		invalid *pflag.InvalidValueError
	)
	switch {
	case errors.As(err, &unknown) && unknown.GetSpecifiedShortnames() == "":
		return "unknown flag" + shown(unknown.GetSpecifiedName())
	case errors.As(err, &missing):
		return "a value is missing after --" + missing.GetFlag().Name
	case errors.As(err, &invalid):
		return "--" + invalid.GetFlag().Name + " has a value that is no " + invalid.GetFlag().Value.Type()
	}
	return "unknown flag; flags are written --name=value"
}

// shown is what may be printed of a word that stands where it means nothing: a short one of letters. Anything else may
// be a password, or a URL with one.
func shown(word string) string {
	if len(word) > 16 || strings.ContainsFunc(word, func(r rune) bool { return (r < 'a' || r > 'z') && r != '-' }) {
		return ""
	}
	return " " + strconv.Quote(word)
}

// idsLast puts ids that begin with a dash, as one in 64 does, where they are not taken for flags.
func idsLast(args []string) []string {
	others, ids := []string{}, []string{} // without arguments not nil, for which cobra would take the process's
	for _, a := range args {
		if layout.ID(a).Usable() && a[0] == '-' && a[1] != '-' {
			ids = append(ids, a)
		} else {
			others = append(others, a)
		}
	}
	if len(ids) > 0 {
		others = append(append(others, "--"), ids...)
	}
	return others
}

// session is a Redis that has been reached, and what its values can be read with.
type session struct {
	*command
	client redis.UniversalClient
	names  layout.Names
	keys   []serializer.Key
	sealer serializer.Serializer // opens nothing where there are no keys
	tls    *tls.ConnectionState  // of the last connection; nil: no TLS
}

// open reaches Redis.
func (c *command) open(ctx context.Context) (*session, error) {
	if err := layout.CheckPrefix(c.prefix); err != nil || c.prefix == "" {
		return nil, usagef("--prefix: it must be the service's Options.Prefix, without braces and white space")
	}
	if strings.Contains(c.prefix, "://") || strings.Contains(c.prefix, "@") {
		return nil, usagef("--prefix has a URL's characters: it is the service's Options.Prefix, the URL is for --redis")
	}
	s := &session{command: c, names: layout.Names{Prefix: c.prefix}, sealer: sealed{}}
	if text := c.env("TOKEN_CACHE_KEYS"); text != "" {
		var err error
		if s.keys, err = serializer.ParseKeys(text); err == nil {
			s.sealer, err = serializer.NewEncrypted(s.keys...)
		}
		if err != nil {
			return nil, fmt.Errorf("TOKEN_CACHE_KEYS: %w; msalredis keygen makes a key", err)
		}
	}
	url, by := c.url, cmp.Or(c.named, "--redis")
	if url == "" {
		url, by = c.env("REDIS_URL"), "REDIS_URL"
	}
	if url = strings.TrimSpace(url); url == "" {
		return nil, usagef("where is Redis? Set REDIS_URL, or give --redis")
	}
	o := &connect.Options{InsecureSkipVerify: c.skipVerification}
	if strings.HasPrefix(strings.ToLower(url), "rediss:") {
		o.TLSConfig = &tls.Config{
			InsecureSkipVerify: c.skipVerification,
			VerifyConnection:   func(state tls.ConnectionState) error { s.tls = &state; return nil },
		}
		if c.ca != "" {
			pem, err := os.ReadFile(c.ca)
			if err != nil {
				if path := new(fs.PathError); errors.As(err, &path) {
					err = path.Err // its path may be a URL in the wrong place
				}
				return nil, usagef("--ca: the file cannot be read: %w", err)
			}
			o.TLSConfig.RootCAs = x509.NewCertPool()
			if !o.TLSConfig.RootCAs.AppendCertsFromPEM(pem) {
				return nil, usagef("--ca: there is no certificate in the file")
			}
		}
	} else if (c.ca != "" || c.skipVerification) && strings.Contains(url, "://") { // else connect has more to say
		return nil, usagef("--ca and --insecure-skip-verify are for TLS: the URL in %s must begin with rediss://", by)
	}
	if c.entra {
		cred, err := azidentity.NewDefaultAzureCredential(nil)
		if err != nil {
			return nil, usagef("--entra: %w", err)
		}
		if o.Credentials, err = entralogin.New(cred, nil); err != nil {
			return nil, usagef("--entra: %w", err)
		}
	}
	var err error
	if s.client, err = connect.Dial(ctx, url, o); err != nil {
		return nil, fmt.Errorf("%s: %w", by, worded{err})
	}
	return s, nil
}

func (s *session) close() { _ = s.client.Close() }

// needKeys is for commands that do nothing sensible without.
func (s *session) needKeys(what string) error {
	if len(s.keys) == 0 {
		return usagef("%s: set TOKEN_CACHE_KEYS to the service's sealing keys, to read the values with "+
			"(msalredis keygen makes one for a service that has none)", what)
	}
	return nil
}

// sealed is the serializer of somebody without keys.
type sealed struct{}

func (sealed) Seal(_, _ []byte) ([]byte, error) { return nil, serializer.ErrUnknownKey }
func (sealed) Open(_, _ []byte) ([]byte, error) { return nil, serializer.ErrUnknownKey }

// terminal tells whether a stream leads to a person.
func terminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// ask asks a question that is answered by y or yes, and gives up with ctx. Where nobody can answer, as under cron, the
// command line must change.
func (c *command) ask(ctx context.Context, question string) (bool, error) {
	fmt.Fprint(c.report, plain(question)+" [y/N] ")
	answer := make(chan string, 1)
	go func() { // a read of a terminal cannot be ended; it ends with the process
		line, _ := bufio.NewReader(c.in).ReadString('\n')
		answer <- line
	}()
	select {
	case <-ctx.Done():
		fmt.Fprintln(c.report)
		return false, ctx.Err()
	case line := <-answer:
		if line == "" && !terminal(c.in) {
			fmt.Fprintln(c.report)
			return false, usagef("nobody answers: without a terminal add --yes")
		}
		line = strings.ToLower(strings.TrimSpace(line))
		return line == "y" || line == "yes", nil
	}
}
