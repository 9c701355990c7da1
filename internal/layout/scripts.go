package layout

import (
	_ "embed"

	"github.com/redis/go-redis/v9"
)

// Each script does in one round trip what must be atomic, and answers with Redis's clock first. What it is given and
// what it answers stands at its beginning.
var (
	//go:embed scripts/load.lua
	loadLua string
	//go:embed scripts/store.lua
	storeLua string
	//go:embed scripts/signout.lua
	signoutLua string
	//go:embed scripts/look.lua
	lookLua string
	//go:embed scripts/respond.lua
	respondLua string
	//go:embed scripts/forget.lua
	forgetLua string
	//go:embed scripts/enlist.lua
	enlistLua string
	//go:embed scripts/discard.lua
	discardLua string
	//go:embed scripts/announce.lua
	announceLua string
	//go:embed scripts/heed.lua
	heedLua string

	LoadScript    = redis.NewScript(loadLua)
	StoreScript   = redis.NewScript(storeLua)
	SignoutScript = redis.NewScript(signoutLua)
	LookScript    = redis.NewScript(lookLua)
	RespondScript = redis.NewScript(respondLua)
	ForgetScript  = redis.NewScript(forgetLua)
	EnlistScript  = redis.NewScript(enlistLua)
	DiscardScript = redis.NewScript(discardLua)

	AnnounceScript = redis.NewScript(announceLua)
	HeedScript     = redis.NewScript(heedLua)
)

// ScriptName is the name of a script's file: what metrics and spans call it.
func ScriptName(script *redis.Script) string { return scriptNames[script] }

var scriptNames = map[*redis.Script]string{
	LoadScript: "load", StoreScript: "store", SignoutScript: "signout", LookScript: "look", RespondScript: "respond",
	ForgetScript: "forget", EnlistScript: "enlist", DiscardScript: "discard",
	AnnounceScript: "announce", HeedScript: "heed",
}
