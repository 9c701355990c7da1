package connect

import (
	"regexp"
	"strings"
)

// A connection string of StackExchange.Redis, which Azure's portal shows, is what many have at hand for a URL:
//
//	NAME.redis.cache.windows.net:6380,password=KEY,ssl=True,abortConnect=False
//
// It is not taken: that would be a second language for one thing. The error gives the URL.

// setting is one part of it but a host. No host of a URL has an equals sign.
var setting = regexp.MustCompile(`(?is)^\s*(password|user|ssl|sslHost|sslProtocols|abortConnect|allowAdmin|` +
	`asyncTimeout|channelPrefix|configCheckSeconds|connectRetry|connectTimeout|defaultDatabase|keepAlive|name|protocol|` +
	`proxy|resolveDns|responseTimeout|serviceName|syncTimeout|tiebreaker|version)\s*=(.*)$`)

const (
	managed = "NAME.REGION.redis.azure.net"
	cache   = "NAME.redis.cache.windows.net"
)

// services are Azure's, by how the names of their servers end.
var services = []struct{ suffix, host, tls, plain string }{
	{".redis.azure.net", managed, "10000", "10000"},
	{".redisenterprise.cache.azure.net", "NAME.REGION.redisenterprise.cache.azure.net", "10000", "10000"},
	{".redis.cache.windows.net", cache, "6380", "6379"},
	{".redis.cache.usgovcloudapi.net", "NAME.redis.cache.usgovcloudapi.net", "6380", "6379"},
	{".redis.cache.chinacloudapi.cn", "NAME.redis.cache.chinacloudapi.cn", "6380", "6379"},
}

var schemed = regexp.MustCompile(`(?is)^\s*[a-z][a-z0-9+.-]*://(.*)$`)

// named is a setting of any name. StackExchange.Redis knows more than this package, and takes more with each version.
var named = regexp.MustCompile(`^\s*[\w ]+=`)

// begins tells whether a text begins as a connection string does: with hosts and settings, of which one is known. A
// URL has a user there. One whose user and password begin so, with a comma and a setting, is taken for a connection
// string, unless the comma is encoded (%2C).
func begins(text string) bool {
	parts := strings.Split(text, ",")
	for _, part := range parts {
		switch host := strings.TrimSuffix(strings.TrimSpace(part), "/"); {
		case setting.MatchString(part):
			return len(parts) > 1
		case host != "" && !named.MatchString(part) && !hostPort.MatchString(host):
			return false
		}
	}
	return false
}

// urlFor is the URL to write in place of a connection string. All of it is ours, none the string's. false: the text is
// no connection string.
func urlFor(text string) (form string, ok bool) {
	// Also with a scheme before it, as somebody writes who was told that it is missing. The hosts of a URL are then what
	// stands between an @ and a / ? or #; a password may hold anything, so that the beginning counts as well.
	looked, whole := text, text
	if m := schemed.FindStringSubmatch(text); m != nil {
		whole = m[1]
		end := strings.IndexAny(whole, "/?#")
		if end < 0 {
			end = len(whole)
		}
		looked = whole[strings.LastIndex(whole[:end], "@")+1 : end]
	}
	ok = begins(whole)
	for part := range strings.SplitSeq(looked, ",") {
		ok = ok || setting.MatchString(part)
	}
	if !ok {
		return "", false
	}
	settings := map[string]string{}
	hosts := 0
	host, securely, plainly, ssl := "HOST", "", "", "false"
	port, bare := "", false // bare: the host has no domain
	for part := range strings.SplitSeq(whole, ",") {
		if m := setting.FindStringSubmatch(part); m != nil {
			settings[strings.ToLower(m[1])] = strings.TrimSpace(m[2])
			continue
		}
		part = strings.ToLower(strings.TrimSpace(part))
		m := hostPort.FindStringSubmatch(part)
		name, _, _ := strings.Cut(part, ":")
		azure := false
		for _, s := range services {
			if strings.HasSuffix(name, s.suffix) {
				azure = true
				host, securely, plainly, ssl = s.host, s.tls, s.plain, "true" // StackExchange.Redis's default for these
			}
		}
		// What follows a password may be the rest of one that holds a comma.
		if azure || m != nil && (m[3] != "" || settings["password"] == "") {
			if hosts++; m != nil {
				port, bare = m[3], m[2] != "" && !strings.Contains(name, ".")
			}
		}
	}
	tls := strings.ToLower(or(settings["ssl"], ssl)) == "true"
	if host == "HOST" {
		// StackExchange.Redis's defaults. Another number is not shown: it may be a part of a password.
		if port == "" && tls {
			port = "6380"
		}
		if port = or(port, "6379"); hosts != 1 || port != "6379" && port != "6380" && port != "10000" {
			port = "PORT"
		}
		securely, plainly = port, port
	}
	at := ""
	switch {
	case settings["password"] != "" && settings["user"] != "":
		at = "USER:PASSWORD@"
	case settings["password"] != "":
		at = ":PASSWORD@"
	}
	address := func(port string) string {
		if hosts > 1 {
			return "HOST1:" + port + ",HOST2:" + port
		}
		return host + ":" + port
	}
	secure, plain := "rediss://"+at+address(securely), "redis://"+at+address(plainly)
	switch {
	case tls:
		form = secure
	case host != "HOST":
		return plain + ", or better " + secure + " for TLS", true
	default:
		form = plain
	}
	if onAzure := map[string]string{"6380": cache, "10000": managed}[securely]; bare && onAzure != "" {
		form += ", or on Azure rediss://" + at + onAzure + ":" + securely
	}
	return form, true
}
