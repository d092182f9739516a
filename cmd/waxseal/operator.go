package main

import (
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"waxseal/proxy/server"
)

// operatorCommand makes a command for a data directory, in service or not. The command takes serve's whole
// configuration; its help lists only the flags relevant to it.
func operatorCommand(cmd *cobra.Command, run func(*cobra.Command, *server.Config, []string) error, shown ...string) *cobra.Command {
	c := server.Default()
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := c.Load(cmd.Flags()); err != nil {
			return err
		}
		return run(cmd, &c, args)
	}
	f := pflag.NewFlagSet("", pflag.ContinueOnError)
	c.Flags(f)
	f.VisitAll(func(flag *pflag.Flag) {
		flag.Hidden = !slices.Contains([]string{"config", "data-dir"}, flag.Name) && !slices.Contains(shown, flag.Name)
	})
	cmd.Flags().AddFlagSet(f)
	return cmd
}
