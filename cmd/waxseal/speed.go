package main

import (
	"time"

	"github.com/spf13/cobra"

	"waxseal/sse/speed"
)

func speedCommand() *cobra.Command {
	took := 500 * time.Millisecond
	cmd := &cobra.Command{
		Use:   "speed",
		Short: "Measure sealing, opening and checksums on this machine",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return speed.Print(cmd.OutOrStdout(), took) },
	}
	cmd.Flags().DurationVar(&took, "time", took, "how long to measure each")
	return cmd
}
