package entratest

import "time"

// Behavior is how the server answers from now on. The zero value is Entra ID's ordinary way.
type Behavior struct {
	// AccessTokenLifetime is counted in whole seconds. A negative one issues tokens that are already expired.
	// Default: 1 hour.
	AccessTokenLifetime time.Duration

	// VaryLifetimes, where it is not 0 and AccessTokenLifetime is, makes lifetimes differ as Entra ID's do: a user's
	// tokens live 3,599 to 4,922 seconds, another time with each answer, and an app's 3,599 or, for some resources,
	// 86,399. It is the seed: the n-th answer to the same app, user, tenant and resource is the same each time. Default:
	// 0, all live for 1 hour.
	VaryLifetimes uint64

	// RefreshIn, in whole seconds, is sent as refresh_in. Default: none is sent, as with Entra ID's tokens of 60 to 90
	// minutes.
	RefreshIn time.Duration

	// ExtExpiresIn is sent as ext_expires_in; a negative one is not sent. Default: equal to expires_in.
	ExtExpiresIn time.Duration

	// RefreshTokenLifetime is looked at when one is redeemed, so a nanosecond expires them all. Default: 90 days.
	RefreshTokenLifetime time.Duration

	// CodeLifetime likewise, for authorization codes. Default: 10 minutes.
	CodeLifetime time.Duration

	// DeviceCodeLifetime likewise, for device codes. Default: 15 minutes.
	DeviceCodeLifetime time.Duration

	// Latency passes between a request's taking effect and its answer: whoever leaves meanwhile
	// has used up the code or refresh token, as with a slow network. Default: none.
	Latency time.Duration

	// RotateRefreshTokens makes a redeemed refresh token die: the second redemption is invalid_grant.
	RotateRefreshTokens bool

	// OmitIDToken leaves id_token and client_info out of users' answers, whatever was asked.
	OmitIDToken bool

	// OmitRefreshToken leaves refresh_token out, whatever was asked.
	OmitRefreshToken bool

	// OmitScope leaves scope out, which RFC 6749 section 5.1 allows where all was granted.
	OmitScope bool

	// PlainThrottling makes a [Fault] of Status 429 that says no more what Entra ID's gateway sends: the text Too Many
	// Requests, with Retry-After 60. Default: an error in JSON, without the header.
	PlainThrottling bool

	// ConditionalAccess are resources, as in https://graph.microsoft.com, that demand more than a refresh token, an
	// assertion or a password shows. Such requests are refused with AADSTS50076, suberror and claims, until the user signs
	// in for the resource, or with those claims, by a code: that sign-in and what descends from it is granted. Default:
	// none.
	ConditionalAccess []string

	// DeclinedScopes are left out of the granted scopes.
	DeclinedScopes []string

	// SendExpiresOn adds expires_on, the absolute time, as the v1 endpoint does; MSAL lets it win over expires_in.
	SendExpiresOn bool
}

// SetBehavior changes the behaviour: change receives a copy of the present one, which then takes its place
// for requests that have not been processed yet. change must not call the server.
func (s *Server) SetBehavior(change func(*Behavior)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.behavior
	change(&b)
	s.behavior = b
}

// Behavior returns the present behaviour, defaults filled in.
func (s *Server) Behavior() Behavior {
	s.mu.Lock()
	b := s.behavior
	s.mu.Unlock()
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&b.AccessTokenLifetime, time.Hour)
	def(&b.ExtExpiresIn, b.AccessTokenLifetime)
	def(&b.RefreshTokenLifetime, 90*24*time.Hour)
	def(&b.CodeLifetime, 10*time.Minute)
	def(&b.DeviceCodeLifetime, 15*time.Minute)
	return b
}

// varies reports whether lifetimes are left to Behavior.VaryLifetimes.
func (s *Server) varies() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.behavior.VaryLifetimes != 0 && s.behavior.AccessTokenLifetime == 0
}

func seconds(d time.Duration) int64 { return int64(d / time.Second) }
