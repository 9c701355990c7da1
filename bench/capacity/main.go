package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/pflag"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run is the program. 2: wrong usage, or the picture could not be written.
func run(args []string, out, log io.Writer) int {
	f := defaults()
	flags := pflag.NewFlagSet("capacity", pflag.ContinueOnError)
	flags.SetOutput(log)
	instances := flags.IntSlice("instances", []int{10, 100, 1000, 10_000}, "sizes of the fleet")
	partitions := flags.IntSlice("partitions", []int{10, 100, 1000}, "tenants, or users, in use on each instance")
	flags.DurationVar(&f.Every, "every", f.Every, "time between the calls for one partition on one instance")
	flags.DurationVar(&f.Within, "within", f.Within, "the time over which all instances start")
	flags.DurationVar(&f.Life, "life", f.Life, "of a token")
	flags.DurationVar(&f.LocalTTL, "localttl", f.LocalTTL, "Options.LocalTTL")
	flags.DurationVar(&f.LockTTL, "lockttl", f.LockTTL, "Options.LockTTL")
	flags.Float64Var(&f.RefreshAt, "refreshat", f.RefreshAt, "Options.RefreshAt")
	flags.IntVar(&f.PoolSize, "pool", f.PoolSize, "PoolSize of the Redis client")
	flags.DurationVar(&f.RoundTrip, "roundtrip", f.RoundTrip, "to Redis and back")
	flags.DurationVar(&f.Entra, "entra", f.Entra, "what a token request takes")
	flags.Uint64Var(&f.Seed, "seed", f.Seed, "of what is left to chance")
	results := flags.String("results", "", "`folder` for the picture capacity.svg; empty: none is drawn")
	switch err := flags.Parse(args); {
	case errors.Is(err, pflag.ErrHelp):
		return 0
	case err != nil:
		fmt.Fprintln(log, err)
		return 2
	}
	if err := check(f, *instances, *partitions); err != nil {
		fmt.Fprintln(log, err)
		return 2
	}
	t := table{}
	for _, p := range *partitions {
		for _, n := range *instances {
			one := f
			one.Instances, one.Apps = n, p
			t = append(t, reckon(one))
		}
	}
	t.print(out)
	printUsers(out, f)
	if *results == "" {
		return 0
	}
	if err := t.draw(filepath.Join(*results, "capacity.svg")); err != nil {
		fmt.Fprintln(log, err)
		return 2
	}
	return 0
}

func check(f Fleet, instances, partitions []int) error {
	for _, n := range append(instances, partitions...) {
		if n < 1 {
			return fmt.Errorf("%d instances or partitions: there must be one at least", n)
		}
	}
	for _, d := range []int64{
		int64(f.Every), int64(f.Within), int64(f.LocalTTL), int64(f.LockTTL), int64(f.RoundTrip), int64(f.Entra),
	} {
		if d < 1 {
			return errors.New("times must be more than 0")
		}
	}
	if f.RefreshAt <= 0 || f.RefreshAt >= 1 || f.due() <= 0 {
		return errors.New("RefreshAt must lie between 0 and 1, and a token's life must be more than five minutes")
	}
	return nil
}
