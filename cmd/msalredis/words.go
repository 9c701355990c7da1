package main

import "strings"

// inFlags are the words of this command for what package connect tells an application to set. A person at a prompt has
// flags. TestErrorsSpeakOfFlags holds them to what connect says.
var inFlags = strings.NewReplacer(
	"Options.TLSConfig.RootCAs", "--ca",
	", or set Options.TLSConfig.ServerName", "",
	"give one (Options.TLSConfig.Certificates)", "msalredis has none to give, so ask from where none is wanted",
	"set Options.InsecureSkipVerify", "give --insecure-skip-verify",
	"Options.Credentials", "--entra",
	"use Options.Prefix of the cache", "tell caches apart by --prefix, the service's Options.Prefix",
	"Options.TLSConfig is set", "--ca or --insecure-skip-verify is given",
)

// worded is an error of connect in the words of this command.
type worded struct{ error }

func (w worded) Error() string { return inFlags.Replace(w.error.Error()) }
func (w worded) Unwrap() error { return w.error }
