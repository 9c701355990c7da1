package records_test

import (
	"context"
	"encoding/json"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/msal-redis/msal-redis-go/entratest"
	"github.com/msal-redis/msal-redis-go/tests/harness"
)

var writeGolden = flag.String("write-golden", "", "write what this version stores into testdata, as `VERSION`.json")

// golden is what a version of this library has stored: the keys of a prefix, and what is needed to read and use them.
type golden struct {
	Keys      string                       // that sealed it
	Assertion string                       // of the on-behalf-of answer
	Hashes    map[string]map[string][]byte `json:",omitempty"`
	Strings   map[string][]byte            `json:",omitempty"`
	Sets      map[string]map[string]float64
}

const goldenPrefix = "golden"

// What every released version has stored serves in this one, without a request: an app's token, a user's, an answer to
// the gate alone and one on behalf of a user. A roll-out so costs neither tokens nor sign-ins.
func TestRecordsOfEarlierVersionsServe(t *testing.T) {
	if *writeGolden != "" {
		write(t, filepath.Join("testdata", *writeGolden+".json"))
	}
	files, err := filepath.Glob("testdata/v*.json")
	if err != nil || len(files) == 0 {
		t.Fatal("no version has stored anything", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".json"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var g golden
			if err := json.Unmarshal(text, &g); err != nil {
				t.Fatal(err)
			}
			w := harness.NewWorld(t)
			g.put(t, w.Redis.Admin)
			use(t, w, g)
			w.Count(t, 0, "what was stored before")
		})
	}
}

// use takes each of the tokens once.
func use(t *testing.T, w *harness.World, g golden) {
	t.Helper()
	ctx := context.Background()
	u := goldenUser()
	w.Entra.AddUser(u)
	instance := func() *harness.Instance {
		o := harness.Options(goldenPrefix)
		return w.InstanceOn(w.Redis.Admin, w.Sealer(g.Keys), o)
	}
	i := instance()
	app := i.App()
	harness.Must(t)(app.AcquireTokenByCredential(ctx, []string{harness.GraphScope}))
	if len(g.Hashes) == 0 {
		i.SignIn(app, u)
	}
	harness.Must(t)(harness.Silent(ctx, app, u.HomeAccountID()))
	harness.Must(t)(app.AcquireTokenOnBehalfOf(ctx, g.Assertion, []string{harness.MailScope}))
	harness.Must(t)(instance().GateApp().AcquireTokenByCredential(ctx, []string{harness.GraphScope}))
}

func goldenUser() entratest.User {
	return entratest.User{ObjectID: "60000000-0000-4000-8000-00000000901d", Username: "golden@contoso.com"}
}

// write has this version store tokens that live for very long, and keeps what there is in Redis then.
func write(t *testing.T, file string) {
	t.Helper()
	ctx := context.Background()
	w := harness.NewWorld(t)
	w.Entra.SetBehavior(func(b *entratest.Behavior) { b.AccessTokenLifetime = 60 * 365 * 24 * time.Hour })
	w.Entra.AddUser(goldenUser())
	g := golden{Keys: w.Keys, Assertion: w.Assertion(t, goldenUser()), Hashes: map[string]map[string][]byte{},
		Strings: map[string][]byte{}, Sets: map[string]map[string]float64{}}
	use(t, w, golden{Keys: g.Keys, Assertion: g.Assertion})
	time.Sleep(time.Second) // what is kept behind callers
	rdb := w.Redis.Admin
	keys, err := w.Redis.Keys(ctx, goldenPrefix+":*")
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range keys {
		switch kind := rdb.Type(ctx, key).Val(); kind {
		case "hash":
			g.Hashes[key] = map[string][]byte{}
			for field, value := range rdb.HGetAll(ctx, key).Val() {
				g.Hashes[key][field] = []byte(value)
			}
		case "string":
			g.Strings[key] = []byte(rdb.Get(ctx, key).Val())
		case "zset":
			g.Sets[key] = map[string]float64{}
			for _, z := range rdb.ZRangeWithScores(ctx, key, 0, -1).Val() {
				g.Sets[key][z.Member.(string)] = z.Score
			}
		default:
			t.Fatalf("%s is a %s", key, kind)
		}
		rdb.Del(ctx, key)
	}
	text, err := json.MarshalIndent(g, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, append(text, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
}

// put puts into Redis what a version has stored, and takes it away with the test.
func (g golden) put(t *testing.T, rdb redis.UniversalClient) {
	t.Helper()
	ctx := context.Background()
	var errs []error
	for key, fields := range g.Hashes {
		for field, value := range fields {
			errs = append(errs, rdb.HSet(ctx, key, field, value).Err())
		}
	}
	for key, value := range g.Strings {
		errs = append(errs, rdb.Set(ctx, key, value, time.Hour).Err())
	}
	for key, members := range g.Sets {
		for member, score := range members {
			errs = append(errs, rdb.ZAdd(ctx, key, redis.Z{Score: score, Member: member}).Err())
		}
	}
	for _, key := range slices.Concat(slices.Collect(maps.Keys(g.Hashes)), slices.Collect(maps.Keys(g.Strings)),
		slices.Collect(maps.Keys(g.Sets))) {
		errs = append(errs, rdb.Expire(ctx, key, time.Hour).Err())
		t.Cleanup(func() { rdb.Del(ctx, key) })
	}
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}
