package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// didYouMean is a hint behind an error about an unknown name, empty where no known name is near: "; did you mean
// --listen?" for --lsten.
func didYouMean(name string, known []string) string {
	if near := nearest(name, known); near != "" {
		return "; did you mean " + near + "?"
	}
	return ""
}

// nearest is the known name that cobra would suggest for a mistyped one: at most two edits away, or begun by it.
func nearest(name string, known []string) string {
	names := &cobra.Command{SuggestionsMinimumDistance: 2}
	for _, k := range known {
		names.AddCommand(&cobra.Command{Use: k, Run: func(*cobra.Command, []string) {}})
	}
	if near := names.SuggestionsFor(name); name != "" && len(near) > 0 {
		return near[0]
	}
	return ""
}

// unknownCommand refuses arguments of the program that are no command.
func unknownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	var known []string
	for _, c := range cmd.Commands() {
		known = append(known, c.Name())
	}
	return fmt.Errorf("unknown command %q%s", args[0], didYouMean(args[0], known))
}

// unknownFlag adds to pflag's error about an unknown flag which one may have been meant.
func unknownFlag(cmd *cobra.Command, err error) error {
	name, unknown := strings.CutPrefix(err.Error(), "unknown flag: --")
	if !unknown {
		return err
	}
	var known []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { known = append(known, f.Name) })
	if near := nearest(name, known); near != "" {
		return fmt.Errorf("%w; did you mean --%s?", err, near)
	}
	return err
}
