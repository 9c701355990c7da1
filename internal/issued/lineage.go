package issued

import (
	"strings"

	"github.com/msal-redis/msal-redis-go/internal/bounded"
	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/internal/msaldoc"
	"github.com/msal-redis/msal-redis-go/internal/tokenreq"
)

// Lineages remembers the lineage of the refresh tokens that MSAL was given or has brought. A refresh token has a
// lineage rather than an identity: each use brings a new one.
type Lineages struct {
	known *bounded.Recent[tokenreq.Hash, tokenreq.Lineage]
}

// NewLineages makes Lineages.
func NewLineages() *Lineages {
	return &Lineages{bounded.NewRecent[tokenreq.Hash, tokenreq.Lineage](secretsAtMost)}
}

// Of is the lineage of a secret; zero where it is not known.
func (l *Lineages) Of(secret string) tokenreq.Lineage {
	if secret == "" {
		return tokenreq.Lineage{}
	}
	known, _ := l.known.Of(tokenreq.HashSecret(secret))
	return known
}

// Learn takes in a refresh token of an account's partition. An entry that is none is left aside.
func (l *Lineages) Learn(e msaldoc.Entry) {
	if e.Section != msaldoc.SectionRefreshToken || e.HomeAccountID == "" || e.Secret == "" {
		return
	}
	secret := tokenreq.HashSecret(e.Secret)
	now := tokenreq.Lineage{
		Kind: tokenreq.UserRefresh, Account: e.HomeAccountID, Partition: layout.PartitionID(e.HomeAccountID),
		Environment: e.Environment, Family: e.FamilyID,
	}
	if held, ok := l.known.Of(secret); ok && held == now {
		return
	}
	// The entry's text, or that of its whole document, must not stay with them.
	now.Account, now.Environment = strings.Clone(now.Account), strings.Clone(now.Environment)
	now.Family = strings.Clone(now.Family)
	l.known.Set(secret, now)
}

// Follow takes in the refresh token of an answer.
func (l *Lineages) Follow(secret string, lineage tokenreq.Lineage) {
	if secret != "" {
		l.known.Set(tokenreq.HashSecret(secret), lineage)
	}
}
