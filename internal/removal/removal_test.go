package removal

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/internal/msaldoc"
	"github.com/msal-redis/msal-redis-go/internal/record"
	"github.com/msal-redis/msal-redis-go/internal/redisop"
	"github.com/msal-redis/msal-redis-go/internal/redistest"
	"github.com/msal-redis/msal-redis-go/internal/redistime"
	"github.com/msal-redis/msal-redis-go/internal/stage"
	"github.com/msal-redis/msal-redis-go/internal/tokenstore"
	"github.com/msal-redis/msal-redis-go/serializer"
)

// staged is a Remover on a real Redis, and what it has told.
type staged struct {
	*Remover
	rdb   *redis.Client
	names layout.Names
	parts *stage.Stage

	mu        sync.Mutex
	forgotten []layout.ID
	told      []layout.ID
	refusing  atomic.Bool  // Redis refuses removals
	slow      atomic.Int64 // how long each script takes, in nanoseconds
}

func (s *staged) DialHook(next redis.DialHook) redis.DialHook { return next }
func (s *staged) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}
func (s *staged) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if slow := s.slow.Load(); slow > 0 && strings.HasPrefix(cmd.Name(), "eval") {
			time.Sleep(time.Duration(slow))
		}
		if args := cmd.Args(); args[0] == "publish" {
			change, ok := layout.ParseChange(args[2].(string), redistime.Time(time.Now().UnixMicro()))
			if ok && s.rdb.Exists(ctx, s.names.Tombstone(change.ID)).Val() == 1 && change.Removed.Latest() > 0 {
				s.note(&s.told, change.ID)
			}
		} else if s.refusing.Load() && strings.HasPrefix(cmd.Name(), "eval") && len(args) > 5 &&
			strings.HasSuffix(args[5].(string), ":rids") {
			cmd.SetErr(errors.New("OOM refused"))
			return cmd.Err()
		}
		return next(ctx, cmd)
	}
}

func newStage(t *testing.T) *staged {
	t.Helper()
	s := &staged{rdb: redistest.Start(t).Client(), names: layout.Names{Prefix: redistest.Prefix(t)}}
	t.Cleanup(func() { _ = s.rdb.Close() })
	s.rdb.AddHook(s)
	s.parts = stage.New(t, s.rdb, stage.Options{Prefix: s.names.Prefix, Serializer: serializer.Plaintext()})
	s.Remover = New(Options{
		Names: s.names, Redis: s.parts.Redis, Store: s.parts.Store, Clock: s.parts.Clock, Life: s.parts.Life,
		Workers: s.parts.Workers, Missed: func() {},
		Forget: func(pid layout.ID, _ layout.Tombstone, _ bool) { s.note(&s.forgotten, pid) },
	})
	return s
}

func (s *staged) note(to *[]layout.ID, pid layout.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	*to = append(*to, pid)
}

// stored is a partition with a token in Redis.
func (s *staged) stored(t *testing.T, key string, user bool) *tokenstore.Record {
	t.Helper()
	r := s.parts.Store.Of(layout.PartitionID(key), user)
	e, err := msaldoc.NewEntry(msaldoc.SectionAccessToken, "k",
		[]byte(`{"secret":"s","target":"scope","expires_on":"9000000000"}`))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.parts.Store.Write(t.Context(),
		tokenstore.Batch{Record: r, Entries: []record.Entry{record.New(e, 1, 1)}}); err != nil {
		t.Fatal(err)
	}
	return r
}

func (s *staged) heard() (forgotten, told []layout.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.forgotten), slices.Clone(s.told)
}

// A removal goes on to the partitions that are listed with its own, once to each though they list one another, and to
// the answers; of other scopes it leaves all. It is told when it is made.
func TestRemovalGoesOnToWhatIsListed(t *testing.T) {
	ctx := t.Context()
	for _, only := range []msaldoc.Scopes{nil, msaldoc.NewScopes([]string{"scope"}),
		msaldoc.NewScopes([]string{"other"})} {
		t.Run(only.String(), func(t *testing.T) {
			s := newStage(t)
			one, two := s.stored(t, "one", false), s.stored(t, "two", false)
			rid := layout.HashID("request", "r")
			s.rdb.Set(ctx, s.names.Response(rid), "answer", time.Hour)
			scopes := layout.MemberScopes(msaldoc.NewScopes([]string{"scope"}))
			for pid, member := range map[layout.ID]layout.Member{
				one.ID: {Kind: layout.MemberPartition, Scopes: scopes, ID: two.ID},
				two.ID: {Kind: layout.MemberPartition, Scopes: scopes, ID: one.ID},
			} {
				for _, m := range []layout.Member{member, {Kind: layout.MemberAnswer, Scopes: scopes, ID: rid}} {
					if ok, err := s.parts.Store.List(ctx, pid, m, 60_000, layout.MaxStamp); !ok || err != nil {
						t.Fatal(ok, err)
					}
				}
			}
			if err := s.Remove(ctx, one, only); err != nil {
				t.Fatal(err)
			}
			reaches := only.String() != "other"
			left := s.rdb.Exists(ctx, s.names.Tokens(one.ID), s.names.Tokens(two.ID), s.names.Response(rid)).Val()
			forgotten, told := s.heard()
			slices.Sort(forgotten)
			slices.Sort(told)
			want := []layout.ID{one.ID, two.ID}
			slices.Sort(want)
			if !reaches {
				want = []layout.ID{one.ID}
			}
			if reaches != (left == 0) || !slices.Equal(forgotten, want) || !slices.Equal(told, want) {
				t.Errorf("%d keys are left; %d were forgotten and %d told of, want %d", left, len(forgotten), len(told), len(want))
			}
			// The other partition stays listed: what is stored there from now on is of the same app.
			var kinds []string
			for _, text := range s.rdb.ZRange(ctx, s.names.RIDs(one.ID), 0, -1).Val() {
				member, _ := layout.ParseMember(text)
				kinds = append(kinds, member.Kind)
			}
			slices.Sort(kinds)
			listed := []string{layout.MemberPartition}
			if !reaches {
				listed = []string{layout.MemberPartition, layout.MemberAnswer}
			}
			if !slices.Equal(kinds, listed) {
				t.Errorf("%q are listed still, want %q", kinds, listed)
			}
		})
	}
}

// A removal reaches every answer of an app that has thousands: one for each resource.
func TestRemovalReachesThousandsOfAnswers(t *testing.T) {
	const n = 5_000
	ctx := t.Context()
	s := newStage(t)
	app := s.stored(t, "app", false)
	keys := make([]string, n)
	for i := range keys {
		rid := layout.HashID("request", strconv.Itoa(i))
		keys[i] = s.names.Response(rid)
		m := layout.Member{Kind: layout.MemberAnswer, Scopes: layout.MemberScopes(nil), ID: rid}
		if ok, err := s.parts.Store.List(ctx, app.ID, m, 60_000, layout.MaxStamp); !ok || err != nil {
			t.Fatal(ok, err)
		}
	}
	if _, err := s.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, key := range keys {
			p.Set(ctx, key, "answer", time.Hour)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := s.Remove(ctx, app, nil); err != nil {
		t.Fatal(err)
	}
	if left := s.rdb.Exists(ctx, keys...).Val(); left != 0 {
		t.Errorf("%d answers of %d are left", left, n)
	}
}

// A removal that Redis refuses is an error, ends what it is of here at once, and is made and told of when Redis takes
// it.
func TestRefusedRemovalIsMadeLater(t *testing.T) {
	ctx := t.Context()
	s := newStage(t)
	r := s.stored(t, "user", true)
	s.rdb.ZAdd(ctx, s.names.Accounts(), redis.Z{Member: string(r.ID), Score: 9e15})
	s.refusing.Store(true)
	if err := s.Remove(ctx, r, nil); err == nil {
		t.Fatal("it succeeded")
	}
	if !r.Known().Empty() || !s.parts.Store.Ended(r.ID, 1, 0) {
		t.Error("it is known here still")
	}
	if _, told := s.heard(); len(told) > 0 {
		t.Error("it was told before it was made")
	}
	s.refusing.Store(false)
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if n, removals, _ := s.parts.Store.Waiting(); n == 0 && removals == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("it waits still")
		}
	}
	if _, told := s.heard(); !slices.Equal(told, []layout.ID{r.ID}) ||
		s.rdb.Exists(ctx, s.names.Tokens(r.ID)).Val() == 1 || s.rdb.ZCard(ctx, s.names.Accounts()).Val() != 0 {
		t.Errorf("told of %d; it is there still, or listed", len(told))
	}
}

// A removal is carried out once, also where its caller has left, or Redis is slow.
func TestRemovalIsCarriedOutOnce(t *testing.T) {
	s := newStage(t)
	s.slow.Store(int64(400 * time.Millisecond)) // the first pause of what waits for Redis is 150 ms at most
	for i, patience := range []time.Duration{time.Minute, time.Millisecond} {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		err := s.Remove(ctx, s.parts.Store.Of(layout.PartitionID("uid.utid"), true), nil)
		cancel()
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			if _, removals, _ := s.parts.Store.Waiting(); removals == 0 {
				break
			}
			if time.Now().After(deadline) {
				t.Fatal("it waits still")
			}
		}
		time.Sleep(time.Second) // a second try would be made, and told of, by then
		if _, told := s.heard(); len(told) != i+1 {
			t.Errorf("with a patience of %v it was carried out %d times", patience, len(told)-i)
		}
	}
}

// Who leaves gets his context's error, and the removal is made all the same; after the end there is none.
func TestRemovalWithoutItsCaller(t *testing.T) {
	s := newStage(t)
	r := s.stored(t, "user", true)
	left, leave := context.WithCancel(t.Context())
	leave()
	if err := s.Remove(left, r, nil); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	there := func() bool { return s.rdb.Exists(t.Context(), s.names.Tokens(r.ID)).Val() == 1 }
	for deadline := time.Now().Add(20 * time.Second); there(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it is not made")
		}
	}
	s.parts.End()
	s.parts.Workers.Close()
	if err := s.Remove(t.Context(), r, nil); !errors.Is(err, redisop.ErrClosed) {
		t.Errorf("after the end: %v", err)
	}
}
