package msalredis

import (
	"testing"
	"time"

	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/internal/redistime"
)

// A record that is gone is written back only while the tombstone of a sign-out would still tell of it, also where this machine
// was suspended meanwhile and its clock stood still.
func TestOnlyWhatATombstoneWouldTellOfIsWrittenBack(t *testing.T) {
	c := &Cache{clock: redistime.New(time.Now(), layout.TombstoneLife), o: Options{UserTTL: 24 * time.Hour}}
	const last = int64(1_700_000_000_000_000)
	life := layout.TombstoneLife.Microseconds()
	for us, want := range map[int64]bool{last + life - second: true, last + life + second: false} {
		p := &partition{confirmed: max(c.clock.Elapsed(), 1), asOf: last}
		if got := p.remembers(c, &snapshot{}, &snapshot{}, us); got != want {
			t.Errorf("%d s after it was last seen: %v, want %v", (us-last)/second, got, want)
		}
	}
}

// A record that nobody used for UserTTL has expired as it should, also where a tombstone is left: it is not lost.
func TestWhatHasExpiredUnusedIsNotWrittenBack(t *testing.T) {
	c := &Cache{clock: redistime.New(time.Now(), layout.TombstoneLife), o: Options{UserTTL: 2 * time.Second}}
	const last = int64(1_700_000_000_000_000)
	for us, want := range map[int64]bool{last + second: true, last + 2*second: false, last + 3*second: false} {
		for _, generation := range []int64{0, 1} {
			p := &partition{confirmed: max(c.clock.Elapsed(), 1), asOf: last}
			if got := p.remembers(c, &snapshot{generation: generation}, &snapshot{generation: generation}, us); got != want {
				t.Errorf("%d s after it was last used, generation %d: %v, want %v", (us-last)/second, generation, got, want)
			}
		}
	}
}
