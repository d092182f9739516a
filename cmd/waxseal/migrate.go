package main

import (
	"context"

	"github.com/spf13/cobra"

	"waxseal/proxy/jobs"
)

func migrateCommand() *cobra.Command {
	var o jobs.MigrateOptions
	cmd := jobCommand(&cobra.Command{
		Use:   "migrate s3://BUCKET[/PREFIX]",
		Short: "Encrypt in place what was in a read_through bucket before waxseal",
		Long: "Encrypt plaintext objects of a bucket that read_through names, in place and by the bucket's default encryption.\n" +
			"Clients can go on reading and writing. A job that was interrupted goes on where it was. When it has ended without\n" +
			"a failure, take the bucket out of read_through. In a versioned bucket earlier versions stay as they are.",
	}, func(ctx context.Context, j *jobs.Job) error { return j.Migrate(ctx, o) })
	cmd.Flags().BoolVar(&o.DryRun, "dry-run", false, "only count")
	cmd.Flags().BoolVar(&o.Restart, "restart", false, "begin from the front, not where the last run was interrupted")
	return cmd
}
