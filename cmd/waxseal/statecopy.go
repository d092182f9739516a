package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"waxseal/proxy/server"
)

func stateCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "state", Short: "Move the state between a file and etcd"}
	cmd.AddCommand(operatorCommand(&cobra.Command{
		Use:   "copy FROM TO",
		Short: "Copy the whole state: FROM and TO are files, or addresses like --state's",
		Long: "Copy the whole state, while nobody serves from it: KMS keys, bucket configuration, users, uploads in flight. What is\n" +
			"secret in it stays sealed under the root secret, which is not copied. TO must not exist, or be empty.\n\n" +
			"  waxseal state copy ./waxseal-data/state.db etcd://10.0.0.1:2379,10.0.0.2:2379/waxseal",
		Args: cobra.ExactArgs(2),
	}, func(cmd *cobra.Command, c *server.Config, args []string) error {
		n, err := server.CopyState(cmd.Context(), c, args[0], args[1])
		if err == nil {
			fmt.Fprintf(cmd.OutOrStdout(), "%d records copied\n", n)
		}
		return err
	}, "state-ca", "state-cert", "state-key"))
	return cmd
}
