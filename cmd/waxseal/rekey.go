package main

import (
	"github.com/spf13/cobra"

	"waxseal/proxy/server"
)

func rekeyCommand() *cobra.Command {
	var prune bool
	cmd := operatorCommand(&cobra.Command{
		Use:   "rekey",
		Short: "Make a new root secret and seal everything again under it, also while waxseal serves",
		Long: "Make a new root secret and seal everything again under it. The older secrets stay in root.key, for backups\n" +
			"made before; --prune removes them. A secret in WAXSEAL_ROOT_SECRET is changed where it is kept: put the new\n" +
			"one first, a comma, and the old one; restart; run rekey; remove the old one.",
		Args: cobra.NoArgs,
	}, func(cmd *cobra.Command, c *server.Config, _ []string) error {
		return server.Rekey(cmd.Context(), c, prune, cmd.OutOrStdout())
	})
	cmd.Flags().BoolVar(&prune, "prune", false, "remove the older root secrets: backups made before will not open any more")
	return cmd
}
