package main

import (
	"cmp"
	"runtime/debug"
)

// version is what a build says of itself.
type version struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"` // of the sources; those of a released module have none
	Modified bool   `json:"modified,omitempty"` // the sources were not as the revision has them
	Go       string `json:"go"`
}

// versionOf takes a build's version. info is nil where the build has left none.
func versionOf(info *debug.BuildInfo) version {
	if info == nil {
		info = &debug.BuildInfo{}
	}
	v := version{Version: cmp.Or(info.Main.Version, "(devel)"), Go: cmp.Or(info.GoVersion, "unknown Go")}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Revision = s.Value
		case "vcs.modified":
			v.Modified = s.Value == "true"
		}
	}
	return v
}

func (v version) String() string {
	text := "msalredis " + v.Version
	if v.Revision != "" {
		text += " " + v.Revision
	}
	if v.Modified {
		text += " (modified)"
	}
	return text + " " + v.Go
}

func (c *command) version() error {
	info, _ := debug.ReadBuildInfo()
	v := versionOf(info)
	if c.json {
		return c.encode(v, "")
	}
	return say(c.out, "%v", v)
}
