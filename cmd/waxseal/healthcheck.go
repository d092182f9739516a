package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/spf13/cobra"
)

// healthcheckCommand asks a running waxseal with the same configuration whether it lives, for a container's sake.
func healthcheckCommand() *cobra.Command {
	return operatorCommand(&cobra.Command{
		Use:     "healthcheck",
		Short:   "Ask the admin endpoint of a running waxseal whether it lives",
		Example: "  waxseal healthcheck --admin-listen 127.0.0.1:9802",
		Args:    cobra.NoArgs,
	}, func(cmd *cobra.Command, c *config, _ []string) error {
		return healthcheck(cmd.Context(), c.AdminListen)
	}, "admin-listen")
}

func healthcheck(ctx context.Context, addr string) error {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return err
	}
	if host == "" || unspecified(host) {
		host = "127.0.0.1"
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(host, port)+"/healthz", nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", resp.Status, text)
	}
	return nil
}
