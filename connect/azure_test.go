package connect_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/msal-redis/msal-redis-go/connect"
)

// Azure's portal gives a connection string where a URL is wanted; the error gives the URL, and shows nothing of the
// string.
func TestConnectionStrings(t *testing.T) {
	t.Parallel()
	const secret = "c2VzYW1l/c2VzYW1l+c2VzYW1lc2VzYW1l="
	for _, c := range []struct{ text, want string }{
		{"contoso.redis.cache.windows.net:6380,password=" + secret + ",ssl=True,abortConnect=False",
			"rediss://:PASSWORD@NAME.redis.cache.windows.net:6380;"},
		{" Contoso.Redis.Cache.Windows.net:6380 , Password=" + secret + ", SSL=true\n",
			"rediss://:PASSWORD@NAME.redis.cache.windows.net:6380;"},
		{"password=" + secret + ",ssl=True,contoso.redis.cache.windows.net:6380",
			"rediss://:PASSWORD@NAME.redis.cache.windows.net:6380;"},
		{"contoso.redis.cache.windows.net,password=" + secret, "rediss://:PASSWORD@NAME.redis.cache.windows.net:6380;"},
		{"contoso.redis.cache.windows.net:6379,password=" + secret + ",ssl=False,abortConnect=False",
			"redis://:PASSWORD@NAME.redis.cache.windows.net:6379, or better " +
				"rediss://:PASSWORD@NAME.redis.cache.windows.net:6380 for TLS;"},
		{"contoso.redis.cache.windows.net:6380,ssl=True,abortConnect=False", "rediss://NAME.redis.cache.windows.net:6380;"},
		{"contoso.redis.cache.windows.net:6380,password=,ssl=True", "rediss://NAME.redis.cache.windows.net:6380;"},
		{"contoso.redis.cache.windows.net:6380,user=contoso,password=" + secret + ",ssl=True",
			"rediss://USER:PASSWORD@NAME.redis.cache.windows.net:6380;"},
		{"contoso.redis.cache.windows.net:6380,user=contoso,ssl=True", "rediss://NAME.redis.cache.windows.net:6380;"},
		{"contoso.westeurope.redis.azure.net:10000,password=" + secret + ",ssl=True,abortConnect=False",
			"rediss://:PASSWORD@NAME.REGION.redis.azure.net:10000;"},
		{"contoso.westeurope.redis.azure.net:10000,password=" + secret + ",ssl=False",
			"redis://:PASSWORD@NAME.REGION.redis.azure.net:10000, or better rediss://"},
		{"contoso.westeurope.redisenterprise.cache.azure.net:10000,password=" + secret + ",ssl=True",
			"rediss://:PASSWORD@NAME.REGION.redisenterprise.cache.azure.net:10000;"},
		{"contoso.redis.cache.chinacloudapi.cn:6380,password=" + secret + ",ssl=True",
			"rediss://:PASSWORD@NAME.redis.cache.chinacloudapi.cn:6380;"},
		{"contoso.redis.cache.usgovcloudapi.net:6380,password=" + secret + ",ssl=True",
			"rediss://:PASSWORD@NAME.redis.cache.usgovcloudapi.net:6380;"},
		{"contoso.example:6380,password=" + secret + ",ssl=True", "rediss://:PASSWORD@HOST:6380;"},
		{"contoso.example:6379,password=" + secret, "redis://:PASSWORD@HOST:6379;"},
		// The host without its domain: on Azure it has one, and the port tells which.
		{"contoso:6380,password=" + secret + ",ssl=True,abortConnect=False",
			"rediss://:PASSWORD@HOST:6380, or on Azure rediss://:PASSWORD@NAME.redis.cache.windows.net:6380;"},
		{"contoso:6380,password=" + secret,
			"redis://:PASSWORD@HOST:6380, or on Azure rediss://:PASSWORD@NAME.redis.cache.windows.net:6380;"},
		{"contoso,password=" + secret + ",ssl=True",
			"rediss://:PASSWORD@HOST:6380, or on Azure rediss://:PASSWORD@NAME.redis.cache.windows.net:6380;"},
		{"contoso:10000,user=contoso,password=" + secret + ",ssl=True",
			"rediss://USER:PASSWORD@HOST:10000, or on Azure rediss://USER:PASSWORD@NAME.REGION.redis.azure.net:10000;"},
		{"contoso:6379,password=" + secret, "redis://:PASSWORD@HOST:6379;"},
		{"contoso,password=" + secret, "redis://:PASSWORD@HOST:6379;"},
		{"127.0.0.1:6380,password=" + secret + ",ssl=True", "rediss://:PASSWORD@HOST:6380;"},
		// A number of one's own may be a part of a password, and is not shown.
		{"contoso:7000,password=" + secret + ",ssl=True", "rediss://:PASSWORD@HOST:PORT;"},
		{"password=" + secret + ",ssl=True", "rediss://:PASSWORD@HOST:PORT;"},
		{"contoso:7000,contoso:7001,password=" + secret + ",ssl=True,abortConnect=False",
			"rediss://:PASSWORD@HOST1:PORT,HOST2:PORT;"},
		{"contoso1.redis.cache.windows.net:6380,contoso2.redis.cache.windows.net:6380,password=" + secret + ",ssl=True",
			"rediss://:PASSWORD@HOST1:6380,HOST2:6380;"},
		// With what it seems to lack.
		{"rediss://contoso.redis.cache.windows.net:6380,password=" + secret + ",ssl=True,abortConnect=False",
			"rediss://:PASSWORD@NAME.redis.cache.windows.net:6380;"},
		{"redis://contoso.redis.cache.windows.net:6380,abortConnect=False,ssl=True,password=" + secret,
			"rediss://:PASSWORD@NAME.redis.cache.windows.net:6380;"},
		{"contoso.redis.cache.windows.net:6380,password=://" + secret + ",ssl=True",
			"rediss://:PASSWORD@NAME.redis.cache.windows.net:6380;"},
	} {
		_, opened := connect.Open(c.text, nil)
		_, dialled := connect.Dial(t.Context(), c.text, nil)
		for _, err := range []error{opened, dialled} {
			if !errors.Is(err, connect.ErrURL) || !strings.Contains(err.Error(), "write "+c.want) {
				t.Errorf("%q: %v, want %q", c.text, err, c.want)
				continue
			}
			for _, part := range []string{"c2VzYW1l", "contoso", "westeurope", "7000"} {
				if strings.Contains(strings.ToLower(err.Error()), strings.ToLower(part)) {
					t.Errorf("%q is shown: %v", c.text, err)
				}
			}
			// What is to be written is understood when it is.
			form, _, _ := strings.Cut(strings.SplitN(err.Error(), "write ", 2)[1], ";")
			form, _, _ = strings.Cut(form, ", or")
			client, err := connect.Open(strings.ReplaceAll(form, "PORT", "1"), nil)
			if err != nil {
				t.Errorf("%s: %v", form, err)
				continue
			}
			client.Close()
		}
	}
	// A URL is none, whatever its password or its socket's path holds.
	for _, url := range []string{"redis://user:x,ssl=True@host", "redis://user:host,password=x@h1,h2",
		"redis://user:123456,password=x@host", "redis://user:6380%2Cpassword=x@host", "redis://user:6380,x@h1,h2",
		"unix:///run/a,ssl=True.sock", "redis://host?client_name=a,ssl=True"} {
		client, err := connect.Open(url, nil)
		if err != nil {
			t.Errorf("%s: %v", url, err)
			continue
		}
		client.Close()
	}
}

// A connection string stays one whatever its password holds and wherever that stands, and also with the scheme that it
// seems to lack. As a URL, what follows an @ of the password would be the host: looked up, and shown.
func TestConnectionStringsWithAnyPassword(t *testing.T) {
	t.Parallel()
	const (
		secret = "Sesame"
		azure  = "contoso.redis.cache.windows.net"
		secure = "rediss://:PASSWORD@NAME.redis.cache.windows.net:6380;"
	)
	forms := map[string]string{ // <> is the password
		azure + ":6380,password=<>,ssl=True,abortConnect=False":     secure,
		azure + ":6380,setlib=false,,password=<>":                   secure,
		azure + ":6380,highIntegrity=true,password=<>,ssl=True":     secure,
		azure + ":6380,ssl=True,abortConnect=False,password=<>":     secure,
		azure + ":6380 , SSL = TRUE , PASSWORD = <> ":               secure,
		strings.ToUpper(azure) + ":6380,Ssl=true,Password=<>":       secure,
		azure + ",password=<>":                                      secure,
		azure + ":6380/,password=<>":                                secure,
		"password=<>," + azure + ":6380":                            secure,
		"password=<>," + azure + ":6380,ssl=True":                   secure,
		"abortConnect=False,password=<>," + azure + ":6380":         secure,
		azure + ":6380,user=contoso,ssl=True,password=<>":           "rediss://USER:PASSWORD@NAME.redis",
		azure + ":6379,ssl=False,password=<>":                       "redis://:PASSWORD@NAME.redis.cache.windows.net:6379,",
		"contoso.westeurope.redis.azure.net:10000,password=<>":      "rediss://:PASSWORD@NAME.REGION.redis.azure.net:10000;",
		"contoso:6380,ssl=True,password=<>":                         "rediss://:PASSWORD@HOST:6380, or on Azure rediss://",
		"contoso,password=<>,ssl=True":                              "rediss://:PASSWORD@HOST:",
		"[::1]:6380,ssl=True,password=<>":                           "rediss://:PASSWORD@HOST:6380;",
		"contoso:7000,contoso:7001,ssl=True,password=<>":            "rediss://:PASSWORD@HOST1:PORT,HOST2:PORT;",
		"contoso1." + azure + "," + azure + ",ssl=True,password=<>": "rediss://:PASSWORD@HOST1:6380,HOST2:6380;",
	}
	passwords := []string{"P", "P=", "x@P", "P@x", "@P@", "x,P", "P,x", "x=P", "x/P", "x#P", "x%P", "x%zzP", "x?P", "x:P",
		"x:1@P", "x@P/1", "x@P:6380", "x/y@P", "x#@P", "x,y@P", "x@y,P", "P,@x", "x=@P=", "x%40@P", "x@P?a=b", "x://P",
		"x://y@P", "/@P", "P@"}
	for form, want := range forms {
		for _, password := range passwords {
			for _, scheme := range []string{"", "rediss://", "redis://", "REDISS://", " rediss://"} {
				text := scheme + strings.Replace(form, "<>", strings.ReplaceAll(password, "P", secret), 1)
				client, err := connect.Open(text, nil)
				if err == nil {
					client.Close()
					t.Errorf("%q is taken for a URL", text)
					continue
				}
				if !errors.Is(err, connect.ErrURL) || !strings.Contains(err.Error(), "write "+want) {
					t.Errorf("%q: %v, want %q", text, err, want)
				}
				for _, part := range []string{secret, "contoso", "westeurope"} {
					if strings.Contains(strings.ToLower(err.Error()), strings.ToLower(part)) {
						t.Errorf("%q is shown: %v", text, err)
					}
				}
			}
		}
	}
}
