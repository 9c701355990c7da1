package entratest

import (
	"crypto/x509"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/google/uuid"
)

// DefaultTenant is the home tenant of a [User] that names none.
const DefaultTenant = "7c1f2a4e-5b0d-4e6a-9c3b-2f8e1d0a6b59"

// App is an app registration.
type App struct {
	ClientID string

	// Secret and Certificate are what the app may prove itself with; either or both.
	Secret      string
	Certificate *x509.Certificate

	// Public marks an app without credentials: device code, password, and auth code with PKCE on a desktop.
	Public bool

	// RedirectURIs are compared exactly, except that the port of a loopback address does not count
	// (RFC 8252 section 7.3). Default: any is accepted, where Entra ID would accept none.
	RedirectURIs []string

	// Unconsented are scopes or resources nobody consented to: a user's request for one is AADSTS65001.
	Unconsented []string

	// Consented are scopes that every user consented to already, as an administrator does for all. They come back with
	// every answer for their resource. Default: none, so what a user's answers bring is what was asked for that user so
	// far: consent is incremental, per app, user, tenant and resource.
	Consented []string

	// Family is the id of the family of client IDs that the app belongs to; Microsoft's own has "1". It is sent as foci,
	// and apps of one family can redeem each other's refresh tokens. Default: none, as with every app that is not
	// Microsoft's.
	Family string
}

// AddApp registers an app, replacing one of the same ClientID. Tokens issued before stay valid.
func (s *Server) AddApp(app App) {
	app.RedirectURIs = slices.Clone(app.RedirectURIs)
	app.Unconsented = slices.Clone(app.Unconsented)
	app.Consented = slices.Clone(app.Consented)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.apps[strings.ToLower(app.ClientID)] = &app
	s.secrets.add(app.Secret)
}

// lookupApp finds a registered app. What it returns is never changed.
func (s *Server) lookupApp(clientID string) (*App, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	app, ok := s.apps[strings.ToLower(clientID)]
	return app, ok
}

func (a *App) allowsRedirect(uri string) bool {
	if len(a.RedirectURIs) == 0 {
		return uri != ""
	}
	return slices.ContainsFunc(a.RedirectURIs, func(registered string) bool {
		return registered == uri || withoutLoopbackPort(registered) == withoutLoopbackPort(uri)
	})
}

func withoutLoopbackPort(uri string) string {
	u, err := url.Parse(uri)
	if err != nil || u.Scheme != "http" {
		return uri
	}
	if ip := net.ParseIP(u.Hostname()); u.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return uri
	}
	u.Host = u.Hostname()
	return u.String()
}

// User is a person in the directory.
type User struct {
	// ObjectID and TenantID are GUIDs and make the home account ID. Default: an ObjectID made from
	// Username, and DefaultTenant.
	ObjectID, TenantID string

	Username string // as in ada@contoso.com
	Name     string

	// Password serves the password grant only. Default: none, and that grant is refused.
	Password string
}

// HomeAccountID is how MSAL names the user's account: ObjectID.TenantID.
func (u User) HomeAccountID() string {
	u = u.filled()
	return u.ObjectID + "." + u.TenantID
}

func (u User) filled() User {
	if u.ObjectID == "" {
		u.ObjectID = uuid.NewSHA1(uuid.NameSpaceOID, []byte(strings.ToLower(u.Username))).String()
	}
	if u.TenantID == "" {
		u.TenantID = DefaultTenant
	}
	u.TenantID = tenantID(u.TenantID)
	if u.Name == "" {
		u.Name = u.Username
	}
	return u
}

// objectIDIn is the user's oid in a tenant. A guest has another there than at home, while
// client_info keeps the home one: code that takes oid for the account's identity fails with guests.
func (u User) objectIDIn(tid string) string {
	if tid == u.TenantID {
		return u.ObjectID
	}
	return uuid.NewSHA1(uuid.NameSpaceOID, []byte("guest "+u.ObjectID+" "+tid)).String()
}

type user struct {
	User
	// epoch counts revocations. What was signed in under an earlier one is dead, also when it is being redeemed
	// at this moment: the successor inherits the epoch of its ancestor.
	epoch int
}

// AddUser registers a user, replacing one of the same name.
func (s *Server) AddUser(u User) {
	u = u.filled()
	s.mu.Lock()
	defer s.mu.Unlock()
	entry := &user{User: u}
	if old, ok := s.users[strings.ToLower(u.Username)]; ok {
		entry.epoch = old.epoch
	}
	s.users[strings.ToLower(u.Username)] = entry
	s.users[strings.ToLower(u.ObjectID)] = entry
	s.secrets.add(u.Password)
}

// RevokeUser ends the user's sign-ins, as an administrator's "revoke sessions" or a new password does: every code and
// refresh token issued so far is refused with AADSTS50173. A new sign-in works. Access tokens live on.
func (s *Server) RevokeUser(homeAccountID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, u := range s.users {
		// Each user is there under two keys.
		if u.HomeAccountID() == homeAccountID && key == strings.ToLower(u.Username) {
			u.epoch++
		}
	}
}

// signIn returns a user with the epoch of this moment.
func (s *Server) signIn(name string) (User, int, *oauthError) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u, ok := s.users[strings.ToLower(name)]
	if !ok {
		return User{}, 0, errorf(invalidGrant, 50034,
			"The user account %s does not exist in the directory. To sign into this application, the account must be added to "+
				"the directory.", name)
	}
	return u.User, u.epoch, nil
}

// userIn finds a user by the oid a tenant's tokens carry.
func (s *Server) userIn(tid, oid string) (User, int, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if u, ok := s.users[strings.ToLower(oid)]; ok && u.TenantID == tid {
		return u.User, u.epoch, true
	}
	for _, u := range s.users {
		if u.objectIDIn(tid) == oid {
			return u.User, u.epoch, true
		}
	}
	return User{}, 0, false
}

var domainName = regexp.MustCompile(`^[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*$`)

// isMultiTenant reports whether the user's home decides the tenant.
func isMultiTenant(tenant string) bool {
	switch strings.ToLower(tenant) {
	case "common", "organizations", "consumers":
		return true
	}
	return false
}

// tenantID is the GUID of a tenant given by GUID or by name.
func tenantID(tenant string) string {
	tenant = strings.ToLower(tenant)
	if id, err := uuid.Parse(tenant); err == nil {
		return id.String()
	}
	return uuid.NewSHA1(uuid.NameSpaceDNS, []byte(tenant)).String()
}

// AddDomain makes a domain a name of a tenant, which is given by its GUID or by another domain. Without it each domain
// is a tenant of its own.
func (s *Server) AddDomain(domain, tenant string) {
	tid := s.tenantID(tenant)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.domains[strings.ToLower(domain)] = tid
}

// tenantID is the GUID of a tenant by any of its names.
func (s *Server) tenantID(tenant string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if tid, ok := s.domains[strings.ToLower(tenant)]; ok {
		return tid
	}
	return tenantID(tenant)
}

// resolveTenant turns the tenant of a path into its GUID.
func (s *Server) resolveTenant(tenant string) (string, *oauthError) {
	if !domainName.MatchString(tenant) {
		return "", errorf(invalidRequest, 900023,
			"Specified tenant identifier '%s' is neither a valid DNS name, nor a valid external domain.", tenant)
	}
	tid := s.tenantID(tenant)
	if s.tenants != nil && !s.tenants[tid] {
		return "", errorf(invalidRequest, 90002, "Tenant '%s' not found. Check to make sure you have the correct tenant ID "+
			"and are signing into the correct cloud. Check with your subscription administrator, this may happen if there are "+
			"no active subscriptions for the tenant.", tenant)
	}
	return tid, nil
}

// userTenant is the tenant a user's token is for: the one of the path, or home.
func (s *Server) userTenant(tenant string, u User) (string, *oauthError) {
	if isMultiTenant(tenant) {
		return u.TenantID, nil
	}
	return s.resolveTenant(tenant)
}
