package main

import (
	"github.com/minio/minio-go/v7"
	"github.com/spf13/cobra"

	"waxseal/proxy/jobs"
	"waxseal/proxy/server"
)

func inspectCommand() *cobra.Command {
	var i jobs.Inspection
	cmd := operatorCommand(&cobra.Command{
		Use:   "inspect s3://BUCKET[/PREFIX]",
		Short: "Show how objects are sealed, as the store has them",
		Long: "Show how objects are sealed: mode, KMS key, sizes, parts. Nothing is opened and no key is used, so this is\n" +
			"what the store says, and what a reader would check. The last lines are the sums: bytes of plaintext, bytes in the\n" +
			"store, objects; by mode, where there are several.",
		Args: cobra.ExactArgs(1),
	}, func(cmd *cobra.Command, c *server.Config, args []string) (err error) {
		if i.Bucket, i.Prefix, err = jobs.ParseURL(args[0]); err != nil {
			return err
		}
		return server.WithStore(cmd.Context(), c, func(store *minio.Core) error {
			return i.Run(cmd.Context(), store, cmd.OutOrStdout())
		})
	}, storeFlags...)
	cmd.Flags().BoolVar(&i.JSON, "json", false, "one JSON object a line")
	cmd.Flags().BoolVar(&i.Versions, "versions", false, "all versions")
	return cmd
}
