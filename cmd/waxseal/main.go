// Command waxseal is an S3-compatible encrypting proxy with an AWS-KMS-compatible key service.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run is main with arguments and outputs as parameters. Any error is a single line on stderr.
func run(args []string, stdout, stderr io.Writer) int {
	ctx, stop := interruptible()
	defer stop()
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	if err := root.ExecuteContext(ctx); err != nil {
		fmt.Fprintln(stderr, "waxseal:", err)
		var exit *exitError
		if errors.As(err, &exit) {
			return exit.code
		}
		return 1
	}
	return 0
}

// exitPlaintext is verify's exit code for intact objects without encryption.
const exitPlaintext = 3

// exitError is an error with an exit code of its own.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// interruptible returns a context that the first SIGINT or SIGTERM cancels. A second signal ends the process.
func interruptible() (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // restores the default action: the next signal kills
	return ctx, stop
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:           "waxseal",
		Short:         "An S3-compatible encrypting proxy with an AWS-KMS-compatible key service",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          unknownCommand,
		RunE:          helpOrVersion,
		Example: "  waxseal serve\n" +
			"  waxseal serve --upstream-endpoint https://store.example:9000 --tls-self-signed\n" +
			"  waxseal verify s3://my-bucket/",
	}
	root.Flags().BoolP("version", "v", false, "print the version")
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetFlagErrorFunc(unknownFlag)
	root.AddCommand(serveCommand(), inspectCommand(), verifyCommand(), migrateCommand(), rewrapCommand(), inventoryCommand(),
		fsckCommand(), backupCommand(), restoreCommand(), rekeyCommand(), stateCommand(), auditCommand(), usageCommand(),
		checkConfigCommand(), healthcheckCommand(), speedCommand(), versionCommand())
	return root
}
