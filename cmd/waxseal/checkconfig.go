package main

import (
	"errors"

	"github.com/spf13/cobra"

	"waxseal/proxy/server"
)

func checkConfigCommand() *cobra.Command {
	var connect, asJSON bool
	c := server.Default()
	cmd := &cobra.Command{
		Use:   "check-config",
		Short: "Say what serve would use, and every mistake in it",
		Long: "Read the configuration file, the environment and the flags as serve does, and say what serve would use: every\n" +
			"setting and where it came from, which secrets there are (not what they are), the users, the store, the key service.\n" +
			"Each mistake is a line on stderr, and makes it end with 1. Nothing is made or locked in the data directory, so that\n" +
			"it can run beside a waxseal that serves, and before the first start.",
		Example: "  waxseal check-config --config /etc/waxseal.yaml\n" +
			"  waxseal check-config --config /etc/waxseal.yaml --connect --json",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			report := c.Check(cmd.Context(), cmd.Flags(), connect)
			show := report.Print
			if asJSON {
				show = report.PrintJSON
			}
			return errors.Join(show(cmd.OutOrStdout()), report.Verdict(cmd.ErrOrStderr()))
		},
	}
	c.Flags(cmd.Flags())
	cmd.Flags().BoolVar(&connect, "connect", false, "ask the store and the key service, as /readyz does")
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object")
	return cmd
}
