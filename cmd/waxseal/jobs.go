package main

import (
	"context"

	"github.com/spf13/cobra"

	"waxseal/proxy/jobs"
	"waxseal/proxy/server"
)

// storeFlags are those of serve's that say where the store is.
var storeFlags = []string{"upstream-endpoint", "upstream-region", "upstream-ca", "upstream-path-style"}

// jobCommand is an operatorCommand with a job in it.
func jobCommand(cmd *cobra.Command, run func(context.Context, *jobs.Job) error) *cobra.Command {
	var endpoint string
	var o jobs.Options
	cmd.Args = cobra.ExactArgs(1)
	cmd = operatorCommand(cmd, func(cmd *cobra.Command, c *server.Config, args []string) (err error) {
		if o.Bucket, o.Prefix, err = jobs.ParseURL(args[0]); err != nil {
			return err
		}
		if err := o.Check(); err != nil {
			return err
		}
		o.Stdout, o.Stderr, o.Bookmarks = cmd.OutOrStdout(), cmd.ErrOrStderr(), c.DataDir
		return server.WithS3(cmd.Context(), c, endpoint, server.Task{Name: cmd.Name(), URL: args[0]}, cmd.ErrOrStderr(), func(a *server.S3Access) error {
			j, err := jobs.New(jobs.Endpoint{
				URL: a.URL, Transport: a.Transport, Region: a.Region, AccessKey: a.AccessKey, SecretKey: a.SecretKey,
				Store: a.Store, ReadThrough: a.ReadThrough, Operator: a.Operator,
			}, o)
			if err != nil {
				return err
			}
			return run(cmd.Context(), j)
		})
	}, storeFlags...)
	cmd.Flags().StringVar(&endpoint, "endpoint", "", "`URL` of a waxseal that serves elsewhere; credentials from WAXSEAL_ACCESS_KEY and WAXSEAL_SECRET_KEY")
	cmd.Flags().IntVar(&o.Workers, "workers", 8, "`NUMBER` of objects worked on at once")
	cmd.Flags().IntVar(&o.ShowFailures, "show-failures", 100, "`NUMBER` of objects that failed to be named on stderr; 0: all")
	cmd.Flags().BoolVar(&o.JSON, "json", false, "a JSON object a line for each object that failed, and a last one with the sums")
	cmd.Flags().BoolVar(&o.Count, "count", false, "count the objects first, for percent and the time that is left")
	cmd.Flags().Float64Var(&o.Rate, "rate", 0, "`NUMBER` of objects a second, at most; 0: no limit")
	return cmd
}
