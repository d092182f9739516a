package main

import (
	"github.com/spf13/cobra"

	"waxseal/proxy/server"
)

func serveCommand() *cobra.Command {
	c := server.Default()
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve S3 and KMS",
		Long: "Serve S3 and KMS. Every flag has an environment variable, WAXSEAL_ and its name in capitals with\n" +
			"underscores, and a key in the configuration file, its name with underscores. The file also has users,\n" +
			"read_through, bucket_aliases, compression, compat and sigv2: docs/operations.md.\n\n" +
			"Secrets have no flags, only variables:\n" +
			"  WAXSEAL_ACCESS_KEY, WAXSEAL_SECRET_KEY                     the root user; else made at the first start\n" +
			"  WAXSEAL_UPSTREAM_ACCESS_KEY, WAXSEAL_UPSTREAM_SECRET_KEY   waxseal's own at the store\n" +
			"  WAXSEAL_ROOT_SECRET                                        32 bytes in base64, in the place of root.key\n" +
			"  WAXSEAL_KMS_ACCESS_KEY, WAXSEAL_KMS_SECRET_KEY             for --kms-provider aws\n" +
			"  WAXSEAL_KMS_TOKEN or WAXSEAL_KMS_TOKEN_FILE                for --kms-provider transit\n" +
			"  WAXSEAL_AUDIT_WEBHOOK_TOKEN                                for --audit-webhook\n" +
			"  WAXSEAL_STATE_USER, WAXSEAL_STATE_PASSWORD                 for --state, where etcd asks who one is",
		Example: "  waxseal serve\n" +
			"  waxseal serve --listen 0.0.0.0:9800 --tls-cert tls.crt --tls-key tls.key --data-dir /var/lib/waxseal\n" +
			"  WAXSEAL_UPSTREAM_ACCESS_KEY=... WAXSEAL_UPSTREAM_SECRET_KEY=... \\\n" +
			"    waxseal serve --upstream-endpoint https://store.example:9000 --upstream-region eu-central-1",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := c.Load(cmd.Flags()); err != nil {
				return err
			}
			return server.Serve(cmd.Context(), &c, server.Process{
				Version: version, Text: versionText(), Stdout: cmd.OutOrStdout(), Stderr: cmd.ErrOrStderr()})
		},
	}
	c.Flags(cmd.Flags())
	return cmd
}
