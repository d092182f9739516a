package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"waxseal/proxy/jobs"
)

func verifyCommand() *cobra.Command {
	var o jobs.VerifyOptions
	cmd := jobCommand(&cobra.Command{
		Use:   "verify s3://BUCKET[/PREFIX]",
		Short: "Open every object to its last byte, and say which cannot be",
		Long: "Open every object to its last byte: the data key, every segment, the length and the checksum. What cannot be\n" +
			"opened is listed, and the command fails. SSE-C objects need their clients' keys and are only counted. KMS keys\n" +
			"are used as the root user. Plaintext objects of a read_through bucket make it end with exit code 3, unless\n" +
			"--allow-plaintext says that they may be there; objects that cannot be opened with 1.",
	}, func(ctx context.Context, j *jobs.Job) error {
		err := j.Verify(ctx, o)
		var plaintext *jobs.PlaintextError
		if errors.As(err, &plaintext) {
			return &exitError{exitPlaintext, err}
		}
		return err
	})
	cmd.Flags().BoolVar(&o.AllowPlaintext, "allow-plaintext", false, "end well where a read_through bucket has plaintext objects, too")
	cmd.Flags().BoolVar(&o.Versions, "versions", false, "all versions")
	return cmd
}
