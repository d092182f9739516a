package main

import (
	"fmt"
	"io"
	"log/slog"

	"github.com/spf13/cobra"

	"waxseal/proxy/embedded"
	"waxseal/proxy/server"
)

func fsckCommand() *cobra.Command {
	var data, repair bool
	cmd := operatorCommand(&cobra.Command{
		Use:   "fsck",
		Short: "Check the embedded store's index against its files",
		Long: "Check the embedded store: that its index is whole, that every object's bytes are there, once, and in their\n" +
			"length, and that nothing else is. With --read-data all bytes are read and compared with their hashes. No key is\n" +
			"used; waxseal verify opens objects. waxseal must not be serving.",
		Example: "  waxseal fsck --read-data\n  waxseal fsck --repair",
		Args:    cobra.NoArgs,
	}, func(cmd *cobra.Command, c *server.Config, _ []string) error {
		log := slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil))
		report, err := server.Fsck(cmd.Context(), c, log, data, repair)
		if err != nil {
			return err
		}
		return showReport(cmd.OutOrStdout(), report)
	})
	cmd.Flags().BoolVar(&data, "read-data", false, "read all bytes and compare them with their hashes")
	cmd.Flags().BoolVar(&repair, "repair", false, "remove bytes that belong to no object, as a crash may leave them")
	return cmd
}

// showReport prints the findings of a check. Damage is an error.
func showReport(w io.Writer, r *embedded.Report) error {
	for _, text := range r.Damage {
		fmt.Fprintln(w, "damaged:", text)
	}
	for _, text := range r.Waste {
		fmt.Fprintln(w, "unused:", text)
	}
	fmt.Fprintf(w, "%d objects, %d noncurrent versions and delete markers, %d uploads: %d bodies of %d bytes\n", r.Objects, r.Versions, r.Uploads, r.Bodies, r.Bytes)
	switch {
	case len(r.Damage) > 0:
		return fmt.Errorf("%d places are damaged; nothing was changed", len(r.Damage))
	case r.Repaired > 0:
		fmt.Fprintf(w, "%d unused bodies removed\n", r.Repaired)
	case len(r.Waste) > 0:
		fmt.Fprintln(w, "waxseal fsck --repair removes what is unused")
	}
	return nil
}
