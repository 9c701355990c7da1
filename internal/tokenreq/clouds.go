package tokenreq

import "strings"

// clouds are Microsoft's clouds by the hosts that are aliases of one another there (MSAL: authority.go,
// aadTrustedHostList, and
// https://login.microsoftonline.com/common/discovery/instance?api-version=1.1&authorization_endpoint=https%3A%2F%2Flogin.microsoftonline.com%2Fcommon%2Foauth2%2Fv2.0%2Fauthorize).
// A host that is in no list, as that of an ADFS farm or of a customer directory, is a cloud of its own.
var clouds = map[string]string{
	"login.microsoftonline.com":        "public",
	"login.windows.net":                "public",
	"login.microsoft.com":              "public",
	"sts.windows.net":                  "public",
	"login.partner.microsoftonline.cn": "china",
	"login.chinacloudapi.cn":           "china",
	"login.microsoftonline.us":         "us-government",
	"login.usgovcloudapi.net":          "us-government",
}

// cloudOf is the cloud of a host, by one name for all its aliases. A region's host is its cloud's:
// westeurope.login.microsoft.com (MSAL: authority.go, AADInstanceDiscovery).
func cloudOf(host string) string {
	host = strings.ToLower(host)
	if cloud, ok := clouds[host]; ok {
		return cloud
	}
	if _, rest, ok := strings.Cut(host, "."); ok {
		if cloud, ok := clouds[rest]; ok {
			return cloud
		}
	}
	return host
}

// SameCloud tells whether two hosts are aliases of one another.
func SameCloud(a, b string) bool { return cloudOf(a) == cloudOf(b) }
