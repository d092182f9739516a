package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime"
	"time"

	"github.com/spf13/cobra"

	"waxseal/keystore/kmsapi"
)

// shutdownTimeout is how long what is in flight may take after the first signal.
const shutdownTimeout = 30 * time.Second

func serveCommand() *cobra.Command {
	c := defaults()
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
			"  WAXSEAL_KMS_TOKEN or WAXSEAL_KMS_TOKEN_FILE                for --kms-provider transit",
		Example: "  waxseal serve\n" +
			"  waxseal serve --listen 0.0.0.0:9800 --tls-cert tls.crt --tls-key tls.key --data-dir /var/lib/waxseal\n" +
			"  WAXSEAL_UPSTREAM_ACCESS_KEY=... WAXSEAL_UPSTREAM_SECRET_KEY=... \\\n" +
			"    waxseal serve --upstream-endpoint https://store.example:9000 --upstream-region eu-central-1",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := c.load(cmd.Flags(), os.LookupEnv); err != nil {
				return err
			}
			log, stop := newLineLog(cmd.ErrOrStderr())
			defer stop()
			slack := slackenCollector(os.LookupEnv)
			defer runtime.KeepAlive(slack)
			return serve(cmd.Context(), &c, cmd.OutOrStdout(), log)
		},
	}
	c.flags(cmd.Flags())
	return cmd
}

// serve runs until ctx ends or something that it stands on does, and then finishes what is in flight.
func serve(ctx context.Context, c *config, stdout io.Writer, log *slog.Logger) error {
	l, err := c.listen()
	if err != nil {
		return err
	}
	defer l.close()
	p, err := assemble(ctx, c, log)
	if err != nil {
		return err
	}
	failed := p.serve(l)
	// Who waits for the banner finds the log's line there already.
	log.Info("ready", "s3", l.s3.Addr(), "kms", l.kmsAddr(c), "admin", l.admin.Addr())
	err = p.banner(c, l).print(stdout)
	if err == nil {
		err = p.wait(ctx, failed)
	}
	log.Info("finishing what is in flight; a second signal ends at once", "deadline", shutdownTimeout)
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	err = errors.Join(err, p.shutdown(ending))
	if err == nil {
		log.Info("ended")
	}
	return err
}

// listeners are bound before anything else is done: most mistakes show there.
type listeners struct {
	s3, admin net.Listener
	kms       net.Listener // nil with an external key service: its keys are managed there
}

func (c *config) listen() (l listeners, err error) {
	for _, e := range []struct {
		flag, addr string
		listener   *net.Listener
	}{{"listen", c.Listen, &l.s3}, {"kms-listen", c.KMSListen, &l.kms}, {"admin-listen", c.AdminListen, &l.admin}} {
		if e.listener == &l.kms && c.external() {
			continue
		}
		if *e.listener, err = net.Listen("tcp", e.addr); err != nil {
			l.close()
			return listeners{}, fmt.Errorf("--%s: %w", e.flag, err)
		}
	}
	return l, nil
}

// kmsAddr is where the KMS endpoint is, or why there is none.
func (l listeners) kmsAddr(c *config) string {
	if l.kms == nil {
		return "none, keys are at the external key service: " + c.KMSProvider
	}
	return l.kms.Addr().String()
}

// close closes those that no server has taken over; the others are closed already, which is no error here.
func (l listeners) close() {
	for _, listener := range []net.Listener{l.s3, l.kms, l.admin} {
		if listener != nil {
			_ = listener.Close()
		}
	}
}

// wait returns when ctx ends, or with the error of what failed.
func (p *parts) wait(ctx context.Context, failed <-chan error) error {
	var storeEnded <-chan struct{}
	if p.store != nil {
		storeEnded = p.store.Ended()
	}
	select {
	case <-ctx.Done():
		return nil
	case err := <-failed:
		return err
	case <-storeEnded:
		return errors.New("the embedded store has ended")
	}
}

// serve starts the three endpoints. The channel has the first that ends by itself.
func (p *parts) serve(l listeners) <-chan error {
	failed := make(chan error, 3)
	report := func(name string, err error) {
		if err != nil && !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
			failed <- fmt.Errorf("%s endpoint: %w", name, err)
		}
	}
	go func() { report("S3", p.s3.Serve(l.s3, p.tls)) }()
	if l.kms != nil {
		kms := kmsapi.Listen(l.kms)
		if p.tls != nil {
			kms = tls.NewListener(kms, p.tls)
		}
		go func() { report("KMS", p.kms.Serve(kms)) }()
	}
	go func() { report("admin", p.admin.Serve(l.admin)) }()
	return failed
}

func (p *parts) banner(c *config, l listeners) banner {
	kms := ""
	if l.kms != nil {
		kms = l.kms.Addr().String()
	}
	return banner{
		s3: l.s3.Addr().String(), kms: kms, provider: c.KMSProvider, admin: l.admin.Addr().String(),
		tls: p.tls != nil, ca: p.ca, dir: dataDir(c.DataDir), region: c.Region, root: p.root, made: p.rootMade,
		embedded: c.UpstreamEndpoint == "",
	}
}
