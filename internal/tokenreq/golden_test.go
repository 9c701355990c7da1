package tokenreq

import (
	"net/http"
	"testing"

	"github.com/msal-redis/msal-redis-go/internal/layout"
)

// Identities are names in Redis, where other instances look for them. A change of one costs a token request each, and
// is meant.
func TestIdentitiesAreAsTheyWere(t *testing.T) {
	for kind, want := range map[string][2]layout.ID{
		"a user's":          {"rDiBwUFxsrzcN7ac3iFQKHe6", "ZImXxLU25G0Ew-dhyy2x7JuN"},
		"an unknown's":      {"YT2pS_zaKK6QH_UOC3AoLdgB", "zAkH4WrjNIh6qEzBpxBBg6IH"},
		"an unknown's next": {"YT2pS_zaKK6QH_UOC3AoLdgB", "zAkH4WrjNIh6qEzBpxBBg6IH"},
		"app":               {"ByMvsRvDgyVielbeVBFnwSmq", "z2oOvn92QqJJKxYf0cmSKDYP"},
		"assertion":         {"Dd679Ws4XqbsSayVbj8VJAet", "CzNMRKK5WvAXnC6RwiBS13g4"},
		"its refresh":       {"e7Qr-L9aEMiC-5SM8jkvENBX", "S-Ldk9HJLA8NBiOp0MHSdtxa"},
		"on-behalf-of":      {"e7Qr-L9aEMiC-5SM8jkvENBX", "S-Ldk9HJLA8NBiOp0MHSdtxa"},
		"user_fic":          {"QPNH5pIJVvnPJZ_v511OoqmQ", "9IUaTIKUSY_gVbQVbRNG7M-_"},
	} {
		request := identityRequests()[kind]
		if got := request.identity(t); got != want[0] {
			t.Errorf("%s: %s, want %s", kind, got, want[0])
		}
		request.form.Set("claims", `{"access_token":{"xms_cc":{"values":["CP1"]},"nbf":{"essential":true,"value":"1"}}}`)
		request.form.Set("unknown", "1")
		request.header.Set("X-Tenant", "guest")
		if got := request.identity(t); got != want[1] {
			t.Errorf("%s, challenged: %s, want %s", kind, got, want[1])
		}
	}
	request := identityRequests()["assertion"]
	req, _ := http.NewRequest(http.MethodPost, request.address, nil)
	r := Understand(req, request.form, Lineage{}, identityNow)
	if r.Credential.Exact != "OwMpBuBhcMw69Rjp8vN_fI8H" || r.Asked != "X7OGQaNBYiqf0mMfN6FFKc2g" {
		t.Errorf("the exact credential %s, the terms %s", r.Credential.Exact, r.Asked)
	}
}
