package gate

import (
	"context"
	"net/url"

	"github.com/msal-redis/msal-redis-go/internal/answers"
	"github.com/msal-redis/msal-redis-go/internal/redistime"
)

// finding is what a look finds.
type finding struct {
	// at is Redis's time of the look, by which what is asked for after it is ordered; 0: Redis did not tell.
	at redistime.Time
	// stamp is that of the answer that is there and that no removal has ended, usable or not: what comes is newer, also
	// if Redis's clock went back. 0: there is none.
	stamp  redistime.Time
	answer *answers.Answer // may be given at once; nil: nothing
	due    bool            // it should be refreshed
	// old is a token with life left that MSAL would not keep any more: for when Entra ID does not answer.
	old      *answers.Answer
	pause    *answers.Answer // the outcome after which nobody should ask yet
	failures int             // in a row, and recently
	// otherRefused: another credential was refused for the same identity. This one may be refused too, and the next:
	// nobody waits for them in the queue for longer than otherRefusedAtMost.
	otherRefused bool
}

// pauseBy takes in a pause that was found, where it is one for this request: a passing one always is, and a refusal
// where applies says that what was refused is what this request sends.
func (f *finding) pauseBy(r *tokenRequest, p *answers.Answer, now redistime.Time, applies func(*answers.Answer) bool) {
	if p == nil {
		return
	}
	f.failures = p.Failures
	switch {
	case p.Until <= now:
	case p.CredentialRefused():
		if f.otherRefused = p.Of != r.Credential.Exact; !f.otherRefused {
			f.pause = p
		}
	case p.Passing() || applies(p):
		f.pause = p
	}
}

// source is where a request's answers are found and kept.
type source interface {
	// look is what there is. An error says only that Redis did not tell.
	look(ctx context.Context) (finding, error)
	// lease is the id under whose lease the request is made.
	lease() id
	// form is what to post, after a look.
	form() (url.Values, *answers.Answer)
	// keep takes in what came.
	keep(ctx context.Context, a *answers.Answer)
	// moved tells, after a refusal, whether another token is to be tried.
	moved(ctx context.Context, sent url.Values) bool
}

// sourceOf is the source of a request's answers.
func (g *Gate) sourceOf(r *tokenRequest) source {
	if r.inRecord() {
		return &recordSource{g: g, r: r, p: g.o.Store.Of(r.Lineage.Partition, true)}
	}
	return &answerSource{g: g, r: r}
}
