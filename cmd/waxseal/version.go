package main

import (
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is set when a release is built: -ldflags "-X main.version=v1.2.3".
var version = "dev"

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		RunE:  printVersion,
	}
}

func printVersion(cmd *cobra.Command, _ []string) error {
	_, err := fmt.Fprintln(cmd.OutOrStdout(), versionText())
	return err
}

// helpOrVersion runs for waxseal without a command. cobra's own --version needs a template, and text/template calls
// methods by name: with it in the program, the linker keeps every exported method of every type, 8 MB of them.
func helpOrVersion(cmd *cobra.Command, args []string) error {
	if asked, err := cmd.Flags().GetBool("version"); err != nil || !asked {
		return errors.Join(err, cmd.Help())
	}
	return printVersion(cmd, args)
}

// versionText returns the line of `waxseal version` and `waxseal --version`.
func versionText() string {
	return fmt.Sprintf("waxseal %s%s %s %s/%s", version, revision(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

// revision returns the commit of the build, if the build recorded it.
func revision() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return " " + s.Value[:12]
		}
	}
	return ""
}
