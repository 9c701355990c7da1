// Package tokensource gives golang.org/x/oauth2, and all that is built on it, the tokens that a fleet shares:
//
//	source := tokensource.ForApp(ctx, app, []string{"https://api.businesscentral.dynamics.com/.default"})
//	client := &http.Client{Transport: &oauth2.Transport{Source: source}}
//
// app is an MSAL client of an msalredis.Cache (NewConfidential). Where there are hundreds of tenants or users it is one
// of clientpool.Shards. [ForApp] is client credentials, [ForAccount] a signed-in account,
// [OnBehalfOf] the user whose token an API has received, and [Func] anything else.
//
// # Ask each time
//
// A source asks MSAL each time, which answers from memory (microseconds), hears of a sign-out, and lets one instance of
// the fleet refresh ahead. oauth2.NewClient and oauth2.ReuseTokenSource keep a token until its Expiry instead. Give a
// source to an oauth2.Transport, as above, where you can; where a library wraps it, it works as well: Expiry is when
// the token is to be asked for again, which is when it is due, not when it ends. The end is Extra("expires_at"), a
// time.Time.
//
// An oauth2.Transport sends the token to every host that it is asked to call. For one that does not, and that answers
// challenges and throttling, see package apiclient.
package tokensource
