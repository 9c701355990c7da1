package main

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/msal-redis/msal-redis-go/entratest"
)

// requireBrowser turns the skip of the tests that need Chromium into a failure.
const requireBrowser = "MSALREDIS_REQUIRE_BROWSER"

// chromium starts a headless Chromium. Tabs made of its context share cookies; newProfile's do not.
func chromium(t *testing.T) context.Context {
	t.Helper()
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable",
		"headless-shell"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		if os.Getenv(requireBrowser) != "" {
			t.Fatal(requireBrowser + " is set and there is no Chromium (Debian: apt-get install chromium)")
		}
		t.Skip("no Chromium is installed (Debian: apt-get install chromium); " + requireBrowser + "=1 makes this a failure")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path),
		chromedp.Flag("disable-background-networking", true),
		chromedp.WSURLReadTimeout(time.Minute))
	if os.Geteuid() == 0 {
		options = append(options, chromedp.NoSandbox) // which Chromium does not start without, for root
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewExecAllocator(ctx, options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx, chromedp.WithErrorf(t.Logf))
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("%s does not start: %v", path, err)
	}
	return ctx
}

// newProfile is a tab with cookies of its own.
func newProfile(t *testing.T, chromium context.Context) context.Context {
	t.Helper()
	ctx, cancel := chromedp.NewContext(chromium, chromedp.WithNewBrowserContext())
	t.Cleanup(cancel)
	return ctx
}

func do(t *testing.T, tab context.Context, actions ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	for _, action := range actions {
		onItsPage(t, func() error { return chromedp.Do(tab, action) })
	}
}

func read(t *testing.T, tab context.Context, selector chromedp.CSS) (text string) {
	t.Helper()
	onItsPage(t, func() (err error) {
		text, err = chromedp.Run(tab, chromedp.Text(selector))
		return err
	})
	return text
}

// onItsPage repeats what looked for something on a page that a click before it was about to leave: Chromium then says
// that the node is gone.
func onItsPage(t *testing.T, look func() error) {
	t.Helper()
	for {
		err := look()
		if err == nil {
			return
		}
		if !strings.Contains(err.Error(), "No node with given id found") {
			t.Fatal(err)
		}
	}
}

// signInTab goes the way a person goes.
func signInTab(t *testing.T, tab context.Context, s *site, username, name string) {
	t.Helper()
	do(t, tab,
		chromedp.Navigate(s.url+"/"),
		chromedp.Click(chromedp.CSS("#signin")),
		chromedp.Click(chromedp.Search(`//a[text()="`+username+`"]`)))
	if greeted := read(t, tab, "#user"); greeted != name {
		t.Fatalf("the page greets %q, want %q", greeted, name)
	}
}

// onEveryInstance opens the first page until each instance has answered, and calls check on each.
func onEveryInstance(t *testing.T, tab context.Context, s *site, check func(instance string)) {
	t.Helper()
	other := s.browser(t)
	seen := map[string]bool{}
	for try := 0; len(seen) < len(s.at); try++ {
		if try == 20 {
			t.Fatalf("20 pages came from %v, want %d instances", seen, len(s.at))
		}
		do(t, tab, chromedp.Navigate(s.url+"/"))
		instance := read(t, tab, "#instance")
		if seen[instance] {
			other.get("/") // shifts the turn: a page may be an even number of requests
		}
		seen[instance] = true
		check(instance)
	}
}

func TestInABrowser(t *testing.T) {
	t.Parallel()
	laptop := chromium(t)
	s := newSite(t)
	phone := newProfile(t, laptop)
	signInTab(t, laptop, s, "ada@contoso.com", "Ada Lovelace")
	signInTab(t, phone, s, "ada@contoso.com", "Ada Lovelace")
	for _, tab := range []context.Context{laptop, phone} {
		onEveryInstance(t, tab, s, func(instance string) {
			if name := read(t, tab, "#user"); name != "Ada Lovelace" {
				t.Errorf("%s greets %q", instance, name)
			}
		})
	}
	do(t, laptop, chromedp.Click(chromedp.CSS("#me")))
	if me := read(t, laptop, "body"); !strings.Contains(me, "ada@contoso.com") {
		t.Errorf("Graph says %q", me)
	}
	if n := s.world.Entra.Count(); n != 2 {
		t.Errorf("%d token requests (%d of them codes), want 2: the codes", n,
			s.world.Entra.Count(entratest.ByGrant("authorization_code")))
	}

	do(t, laptop,
		chromedp.Navigate(s.url+"/"),
		chromedp.Click(chromedp.CSS("#signout")),
		chromedp.WaitVisible(chromedp.CSS("#signin")))
	for _, tab := range []context.Context{laptop, phone} {
		onEveryInstance(t, tab, s, func(instance string) {
			if heading := read(t, tab, "h1"); heading != "Nobody is signed in" {
				t.Errorf("%s greets %q after the sign-out", instance, heading)
			}
		})
	}
	signInTab(t, laptop, s, "grace@contoso.com", "Grace Hopper")
}
