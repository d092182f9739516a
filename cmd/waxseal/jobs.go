package main

import (
	"context"
	"io"

	"github.com/spf13/cobra"

	"waxseal/proxy/jobs"
	"waxseal/proxy/server"
)

// storeFlags are the flags of serve for reaching the store.
var storeFlags = []string{"upstream-endpoint", "upstream-region", "upstream-ca", "upstream-path-style"}

// jobRun is a job as described on the command line.
type jobRun struct {
	endpoint string // URL of a waxseal elsewhere
	options  jobs.Options
	task     server.Task
	stderr   io.Writer
}

// jobCommand makes a command that runs a job for the objects below a single URL.
func jobCommand(cmd *cobra.Command, do func(context.Context, *jobs.Job) error) *cobra.Command {
	return newJobCommand(cmd, cobra.ExactArgs(1), func(cmd *cobra.Command, c *server.Config, run jobRun) error {
		return run.with(cmd.Context(), c, func(_ *server.S3Access, e jobs.Endpoint) error {
			j, err := jobs.New(e, run.options)
			if err != nil {
				return err
			}
			return do(cmd.Context(), j)
		})
	})
}

// newJobCommand makes an operatorCommand with the flags of jobs. Without an argument the job is for all buckets.
func newJobCommand(cmd *cobra.Command, args cobra.PositionalArgs, do func(*cobra.Command, *server.Config, jobRun) error) *cobra.Command {
	var run jobRun
	cmd.Args = args
	cmd = operatorCommand(cmd, func(cmd *cobra.Command, c *server.Config, args []string) (err error) {
		run.task = server.Task{Name: cmd.Name(), URL: "s3://"}
		o := &run.options
		if len(args) > 0 {
			run.task.URL = args[0]
			if o.Bucket, o.Prefix, err = jobs.ParseURL(args[0]); err != nil {
				return err
			}
		}
		if err := o.Check(); err != nil {
			return err
		}
		run.stderr = cmd.ErrOrStderr()
		o.Stdout, o.Stderr, o.Bookmarks = cmd.OutOrStdout(), cmd.ErrOrStderr(), c.DataDir
		return do(cmd, c, run)
	}, storeFlags...)
	o := &run.options
	cmd.Flags().StringVar(&run.endpoint, "endpoint", "", "`URL` of a waxseal that serves elsewhere; credentials from WAXSEAL_ACCESS_KEY and WAXSEAL_SECRET_KEY")
	cmd.Flags().IntVar(&o.Workers, "workers", 8, "`NUMBER` of objects worked on at once")
	cmd.Flags().IntVar(&o.ShowFailures, "show-failures", 100, "`NUMBER` of objects that failed to be named on stderr; 0: all")
	cmd.Flags().BoolVar(&o.JSON, "json", false, "a JSON object a line for each object that failed, and a last one with the sums")
	cmd.Flags().BoolVar(&o.Count, "count", false, "count the objects first, for percent and the time that is left")
	cmd.Flags().Float64Var(&o.Rate, "rate", 0, "`NUMBER` of objects a second, at most; 0: no limit")
	return cmd
}

// with calls do with the waxseal for the job: the waxseal at endpoint, or the waxseal of the data directory.
func (r jobRun) with(ctx context.Context, c *server.Config, do func(*server.S3Access, jobs.Endpoint) error) error {
	return server.WithS3(ctx, c, r.endpoint, r.task, r.stderr, func(a *server.S3Access) error {
		return do(a, jobs.Endpoint{
			URL: a.URL, Transport: a.Transport, Region: a.Region, AccessKey: a.AccessKey, SecretKey: a.SecretKey,
			Store: a.Store, ReadThrough: a.ReadThrough, Operator: a.Operator,
		})
	})
}
