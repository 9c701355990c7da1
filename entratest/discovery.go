package entratest

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// cloud is one national cloud as instance discovery describes it: names that mean the same
// tokens. MSAL stores and finds tokens by them (apps/internal/oauth/ops/authority/known_metadata.go).
type cloud struct {
	network string // preferred_network, also the host of the issuer
	cache   string // preferred_cache
	aliases []string
}

var (
	publicCloud = cloud{"login.microsoftonline.com", "login.windows.net",
		[]string{"login.microsoftonline.com", "login.windows.net", "login.microsoft.com", "sts.windows.net"}}

	clouds = []cloud{
		publicCloud,
		{"login.partner.microsoftonline.cn", "login.partner.microsoftonline.cn",
			[]string{"login.partner.microsoftonline.cn", "login.chinacloudapi.cn"}},
		{"login.microsoftonline.de", "login.microsoftonline.de", []string{"login.microsoftonline.de"}},
		{"login.microsoftonline.us", "login.microsoftonline.us",
			[]string{"login.microsoftonline.us", "login.usgovcloudapi.net"}},
		{"login-us.microsoftonline.com", "login-us.microsoftonline.com", []string{"login-us.microsoftonline.com"}},
		{"login.sovcloud-identity.fr", "login.sovcloud-identity.fr", []string{"login.sovcloud-identity.fr"}},
		{"login.sovcloud-identity.de", "login.sovcloud-identity.de", []string{"login.sovcloud-identity.de"}},
		{"login.sovcloud-identity.sg", "login.sovcloud-identity.sg", []string{"login.sovcloud-identity.sg"}},
	}

	// loginSuffixes are names made per region (MSAL's WithAzureRegion) and per customer (CIAM).
	loginSuffixes = []string{regionSuffix, ".ciamlogin.com"}
)

const regionSuffix = ".login.microsoft.com"

func cloudOf(host string) (cloud, bool) {
	for _, c := range clouds {
		if slices.Contains(c.aliases, strings.ToLower(host)) {
			return c, true
		}
	}
	return cloud{}, false
}

func isLoginHost(host string) bool {
	if _, ok := cloudOf(host); ok {
		return true
	}
	host = strings.ToLower(host)
	return slices.ContainsFunc(loginSuffixes, func(suffix string) bool {
		label, ok := strings.CutSuffix(host, suffix)
		return ok && label != "" && !strings.Contains(label, ".")
	})
}

// issuerHost is the host in the iss of tokens asked for at host: one per cloud, whatever the alias or region. At the
// server's own address it is that address, so that OpenID Connect libraries, which compare the two, can verify tokens.
func issuerHost(host string) string {
	if c, ok := cloudOf(host); ok {
		return c.network
	}
	if isRegion(host) {
		return publicCloud.network
	}
	return host
}

// isRegion reports whether a host is an endpoint of one region, for tokens of apps only.
func isRegion(host string) bool { return strings.HasSuffix(strings.ToLower(host), regionSuffix) }

func issuer(host, tid string) string { return "https://" + issuerHost(host) + "/" + tid + "/v2.0" }

// serveInstanceDiscovery answers whether the host of an authority is Microsoft's, and which other names it has.
func (s *Server) serveInstanceDiscovery(w http.ResponseWriter, r *http.Request) {
	asked, err := url.Parse(r.URL.Query().Get("authorization_endpoint"))
	if err != nil || asked.Host == "" {
		s.writeError(w, r, errorf(invalidRequest, 900144,
			"The request body must contain the following parameter: 'authorization_endpoint'."))
		return
	}
	type entry struct {
		PreferredNetwork string   `json:"preferred_network"`
		PreferredCache   string   `json:"preferred_cache"`
		Aliases          []string `json:"aliases"`
	}
	var metadata []entry
	for _, c := range clouds {
		metadata = append(metadata, entry{c.network, c.cache, c.aliases})
	}
	switch {
	case isLoginHost(asked.Host):
	case asked.Host == s.host || asked.Host == r.Host:
		// More than Entra ID would do, for clients of LocalAuthority that leave discovery on.
		metadata = append(metadata, entry{asked.Host, asked.Host, []string{asked.Host}})
	default:
		// MSAL looks for the word invalid_instance in the body.
		s.writeError(w, r, errorf("invalid_instance", 50049, "Unknown or invalid instance."))
		return
	}
	tenant, _, _ := strings.Cut(strings.TrimPrefix(asked.Path, "/"), "/")
	setHeaders(w, r)
	writeJSON(w, http.StatusOK, map[string]any{
		"tenant_discovery_endpoint": "https://" + asked.Host + "/" + tenant + "/v2.0/.well-known/openid-configuration",
		"api-version":               "1.1",
		"metadata":                  metadata,
	})
}

// serveOpenIDConfiguration describes a tenant's endpoints on the host it was asked at. MSAL refuses an issuer whose
// host is neither that host nor one of Microsoft's (authority.go, ValidateIssuerMatchesAuthority).
func (s *Server) serveOpenIDConfiguration(w http.ResponseWriter, r *http.Request) {
	tenant := r.PathValue("tenant")
	tid := "{tenantid}" // what Entra ID writes where the user decides the tenant
	if !isMultiTenant(tenant) {
		var oerr *oauthError
		if tid, oerr = s.resolveTenant(tenant); oerr != nil {
			oerr.code = "invalid_tenant" // as Entra ID names it here; the token endpoint says invalid_request
			s.writeError(w, r, oerr)
			return
		}
		tenant = tid // endpoints are named by GUID, whatever name they were asked by
	}
	base := "https://" + r.Host + "/" + tenant
	config := map[string]any{
		"token_endpoint":                        base + "/oauth2/v2.0/token",
		"token_endpoint_auth_methods_supported": []string{"client_secret_post", "private_key_jwt"},
		"jwks_uri":                              base + "/discovery/v2.0/keys",
		"response_modes_supported":              []string{"query", "fragment", "form_post"},
		"subject_types_supported":               []string{"pairwise"},
		"id_token_signing_alg_values_supported": []string{"RS256"},
		"response_types_supported":              []string{"code"},
		"scopes_supported":                      []string{"openid", "profile", "email", "offline_access"},
		"issuer":                                issuer(r.Host, tid),
		"request_uri_parameter_supported":       false,
		"authorization_endpoint":                base + "/oauth2/v2.0/authorize",
		"device_authorization_endpoint":         base + "/oauth2/v2.0/devicecode",
		"tenant_region_scope":                   "EU",
		"cloud_instance_name":                   "microsoftonline.com",
	}
	if isRegion(r.Host) {
		config["authorization_endpoint"] = "unsupported"
		delete(config, "device_authorization_endpoint")
	}
	setHeaders(w, r)
	writeJSON(w, http.StatusOK, config)
}

// serveUserRealm says how a user name signs in; MSAL asks before the password grant.
func (s *Server) serveUserRealm(w http.ResponseWriter, r *http.Request) {
	_, domain, _ := strings.Cut(r.PathValue("user"), "@")
	setHeaders(w, r)
	writeJSON(w, http.StatusOK, map[string]any{
		"ver":                 "1.0",
		"account_type":        "Managed",
		"domain_name":         domain,
		"cloud_instance_name": "microsoftonline.com",
		"cloud_audience_urn":  "urn:federation:MicrosoftOnline",
	})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		panic(err) // only values of this package come here
	}
	w.Header().Set("Content-Type", contentJSON)
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client may have left
}
