package main

import (
	"github.com/spf13/cobra"

	"waxseal/proxy/server"
)

// healthcheckCommand asks the running waxseal of the same configuration whether it is alive: for a container's health
// check.
func healthcheckCommand() *cobra.Command {
	return operatorCommand(&cobra.Command{
		Use:     "healthcheck",
		Short:   "Ask the admin endpoint of a running waxseal whether it lives",
		Example: "  waxseal healthcheck --admin-listen 127.0.0.1:9802",
		Args:    cobra.NoArgs,
	}, func(cmd *cobra.Command, c *server.Config, _ []string) error {
		return server.Healthcheck(cmd.Context(), c.AdminListen)
	}, "admin-listen")
}
