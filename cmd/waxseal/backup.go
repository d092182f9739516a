package main

import (
	"errors"
	"os"

	"github.com/spf13/cobra"

	"waxseal/proxy/server"
)

func backupCommand() *cobra.Command {
	return operatorCommand(&cobra.Command{
		Use:   "backup FILE",
		Short: "Copy the state (KMS keys, bucket configuration), also while waxseal serves; - is standard output",
		Long: "Copy the state: KMS keys, the roots of SSE-S3, bucket configuration, uploads in flight. Keys in it are\n" +
			"sealed under the root secret (root.key or WAXSEAL_ROOT_SECRET), which is not in it: keep a copy of that,\n" +
			"elsewhere. Objects are the store's to back up.",
		Args: cobra.ExactArgs(1),
	}, func(cmd *cobra.Command, c *server.Config, args []string) error {
		if args[0] == "-" {
			return server.Backup(cmd.Context(), c, cmd.OutOrStdout())
		}
		return server.BackupFile(cmd.Context(), c, args[0])
	})
}

func restoreCommand() *cobra.Command {
	var deletions string
	cmd := operatorCommand(&cobra.Command{
		Use:   "restore FILE",
		Short: "Put a backup's state into a data directory without one; - is standard input",
		Args:  cobra.ExactArgs(1),
	}, func(cmd *cobra.Command, c *server.Config, args []string) error {
		if args[0] == "-" {
			return server.Restore(cmd.Context(), c, cmd.InOrStdin(), deletions)
		}
		f, err := os.Open(args[0])
		if err != nil {
			return err
		}
		return errors.Join(server.Restore(cmd.Context(), c, f, deletions), f.Close())
	})
	cmd.Flags().StringVar(&deletions, "deletions", "", "`cancel` or keep the deletions of KMS keys that are due; none: refuse a backup with such")
	return cmd
}
