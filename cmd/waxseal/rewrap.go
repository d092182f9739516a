package main

import (
	"context"

	"github.com/spf13/cobra"

	"waxseal/proxy/jobs"
)

func rewrapCommand() *cobra.Command {
	var o jobs.RewrapOptions
	cmd := jobCommand(&cobra.Command{
		Use:   "rewrap s3://BUCKET[/PREFIX]",
		Short: "Move data keys to another KMS key, another mode or their key's newest version, and count what hangs on which",
		Long: "Wrap the data keys of objects anew: under another KMS key (--to-key), in another mode (--mode), or, without\n" +
			"either, under the newest version of the key that they are under. The data stays where it is, unless it is moved\n" +
			"to or from DSSE-KMS or --reencrypt gives it a new data key, which is what to do when an old key was disclosed:\n" +
			"whoever had it may have kept data keys. Clients can go on reading and writing. At the end, and with --dry-run\n" +
			"instead of anything else, it says how many objects hang on each version of each key. In a versioned bucket earlier\n" +
			"versions of objects stay as they are.",
	}, func(ctx context.Context, j *jobs.Job) error { return j.Rewrap(ctx, o) })
	cmd.Flags().StringVar(&o.ToKey, "to-key", "", "`ARN` of the KMS key to move to")
	cmd.Flags().StringVar(&o.FromKey, "from-key", "", "only objects under the KMS key of this `ARN`")
	cmd.Flags().StringVar(&o.Mode, "mode", "", "`MODE` to move to: sse-s3, sse-kms or dsse-kms; none: as it is, or sse-kms with --to-key")
	cmd.Flags().StringVar(&o.BucketKey, "bucket-key", "", "`true` or false: with or without a Bucket Key; none: as it is")
	cmd.Flags().BoolVar(&o.Reencrypt, "reencrypt", false, "give every object a new data key: reads and writes the data")
	cmd.Flags().BoolVar(&o.DryRun, "dry-run", false, "only count")
	cmd.Flags().BoolVar(&o.Restart, "restart", false, "begin from the front, not where the last run was interrupted")
	return cmd
}
