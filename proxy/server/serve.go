package server

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
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"waxseal/keystore/kmsapi"
	"waxseal/keystore/unproven"
)

// Process holds the properties of a serving process.
type Process struct {
	Version string    // of the program, as v1.2.3
	Text    string    // the line of `waxseal version`
	Stdout  io.Writer // for the banner
	Stderr  io.Writer // for the log
}

// Serve serves until ctx ends or a component fails, and then finishes the requests in flight.
func Serve(ctx context.Context, c *Config, process Process) error {
	log, stop := newLineLog(process.Stderr, c.LogFormat)
	defer stop()
	slack := slackenCollector(os.LookupEnv)
	defer runtime.KeepAlive(slack)
	return serve(ctx, c, process, log)
}

func serve(ctx context.Context, c *Config, process Process, log *slog.Logger) error {
	l, err := c.listen()
	if err != nil {
		return err
	}
	defer l.close()
	defer ignoreHangup(log)()
	start := func() (*App, error) { return startApp(ctx, c, process, log) }
	p, err := whileStateAway(ctx, log, start)
	if err != nil {
		return err
	}
	if err := p.registry.Register(buildInfo(process.Version)); err != nil {
		return errors.Join(err, p.finish(ctx, c, log))
	}
	failed := p.serve(l, log)
	// The log line comes first: a script waiting for the banner then finds it.
	log.Info("ready", "s3", l.s3.Addr(), "kms", l.kmsAddr(c), "admin", l.admin.Addr(),
		"store", c.storePlace(), "kms_provider", c.KMSProvider, "region", c.Region, "account", c.Account, "data_dir", c.DataDir, "version", process.Text)
	err = p.banner(c, l, process.Text).print(process.Stdout)
	if err == nil && l.console != nil {
		_, err = fmt.Fprintf(process.Stdout, "The console is at %s\n", p.url(l.console))
	}
	if err == nil {
		err = p.wait(ctx, failed)
	}
	if err == nil {
		p.drain(c, log)
	}
	err = errors.Join(err, p.finish(ctx, c, log))
	if err == nil {
		log.Info("ended")
	}
	return err
}

// drain goes on serving while load balancers learn from /readyz to send no more requests.
func (p *App) drain(c *Config, log *slog.Logger) {
	p.health.draining.Store(true)
	log.Info("draining: /readyz says 503, requests are still taken; a second signal ends at once", "drain_delay", c.DrainDelay)
	time.Sleep(c.DrainDelay)
}

// finish shuts down when the requests in flight have ended, or when the time for them is over.
func (p *App) finish(ctx context.Context, c *Config, log *slog.Logger) error {
	p.health.draining.Store(true)
	log.Info("finishing what is in flight; a second signal ends at once", "shutdown_timeout", c.ShutdownTimeout)
	ending, cancel := c.ending(ctx)
	defer cancel()
	err := p.record(ctx, c, thisOperator(), operatorEvent{name: "StopServer"})
	return errors.Join(err, p.Shutdown(ending))
}

// ending returns a context with a time limit for the shutdown. ctx itself may have ended already.
func (c *Config) ending(ctx context.Context) (context.Context, context.CancelFunc) {
	if c.ShutdownTimeout == 0 {
		return context.WithCancel(context.WithoutCancel(ctx))
	}
	return context.WithTimeout(context.WithoutCancel(ctx), c.ShutdownTimeout)
}

// ignoreHangup ignores SIGHUP. Other servers reload their configuration then; by default it would end this process.
func ignoreHangup(log *slog.Logger) (stop func()) {
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	done := make(chan struct{})
	go func() {
		for {
			select {
			case <-hangups:
				log.Warn("SIGHUP is ignored: the configuration is read at a start only, restart to change it")
			case <-done:
				return
			}
		}
	}()
	return func() { signal.Stop(hangups); close(done) }
}

// storePlace returns the location of the objects.
func (c *Config) storePlace() string {
	if c.UpstreamEndpoint == "" {
		return "the embedded store in " + dataDir(c.DataDir).store()
	}
	return c.UpstreamEndpoint + " (region " + c.UpstreamRegion + ")"
}

// listeners are bound first, because most mistakes show there.
type listeners struct {
	s3, admin net.Listener
	kms       net.Listener // with an external key service, only IAM and STS: the keys are managed there
	pprof     net.Listener // nil: profiles are off
	console   net.Listener // nil: the console is off
}

func (c *Config) listen() (l listeners, err error) {
	for _, e := range []struct {
		flag, addr string
		listener   *net.Listener
	}{{"listen", c.Listen, &l.s3}, {"kms-listen", c.KMSListen, &l.kms}, {"admin-listen", c.AdminListen, &l.admin},
		{"pprof-listen", c.PprofListen, &l.pprof}, {"console-listen", c.ConsoleListen, &l.console}} {
		if e.addr == "" && (e.listener == &l.pprof || e.listener == &l.console) {
			continue
		}
		if *e.listener, err = net.Listen("tcp", e.addr); err != nil {
			l.close()
			return listeners{}, fmt.Errorf("--%s: %w", e.flag, err)
		}
	}
	return l, nil
}

// kmsAddr returns the address of the KMS endpoint, with the services on it.
func (l listeners) kmsAddr(c *Config) string {
	if c.external() {
		return l.kms.Addr().String() + " (IAM and STS; keys are at the external key service: " + c.KMSProvider + ")"
	}
	return l.kms.Addr().String()
}

// close closes the listeners without a server. The rest are closed already; this is no error here.
func (l listeners) close() {
	for _, listener := range []net.Listener{l.s3, l.kms, l.admin, l.pprof, l.console} {
		if listener != nil {
			_ = listener.Close()
		}
	}
}

// wait returns when ctx ends, or with the error of a failed component.
func (p *App) wait(ctx context.Context, failed <-chan error) error {
	var storeEnded, sharedEnded <-chan struct{}
	if p.store != nil {
		storeEnded = p.store.Ended()
	}
	if p.shared != nil {
		sharedEnded = p.shared.Ended()
	}
	select {
	case <-ctx.Done():
		return nil
	case err := <-failed:
		return err
	case <-p.replicas.Ended():
		return p.replicas.Err()
	case <-sharedEnded:
		return p.shared.Err()
	case <-storeEnded:
		return errors.New("the embedded store has ended")
	}
}

// serve starts the endpoints. The channel receives the error of the first endpoint to end.
func (p *App) serve(l listeners, log *slog.Logger) <-chan error {
	failed := make(chan error, 5)
	report := func(name string, err error) {
		if err != nil && !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
			failed <- fmt.Errorf("%s endpoint: %w", name, err)
		}
	}
	go func() { report("S3", p.S3.Serve(p.greeted(l.s3, "S3", log), p.tls)) }()
	kms := kmsapi.Listen(p.greeted(l.kms, "KMS", log))
	if p.tls != nil {
		kms = tls.NewListener(kms, p.tls)
	}
	go func() { report("KMS", p.kms.Serve(kms)) }()
	go func() {
		report("admin", p.admin.Serve(unproven.Listen(greetedPlain(l.admin, "admin", log), unproven.NewPool(adminConnections))))
	}()
	if l.pprof != nil {
		go func() {
			report("pprof", p.pprof.Serve(unproven.Listen(greetedPlain(l.pprof, "pprof", log), unproven.NewPool(pprofConnections))))
		}()
	}
	if l.console != nil {
		go func() { report("console", p.console.Serve(p.consoleListener(l.console, log))) }()
	}
	return failed
}

func (p *App) banner(c *Config, l listeners, version string) banner {
	return banner{
		s3: l.s3.Addr().String(), kms: l.kms.Addr().String(), external: c.external(), provider: c.KMSProvider, admin: l.admin.Addr().String(),
		tls: p.tls != nil, ca: p.ca, dir: dataDir(c.DataDir), region: c.Region, root: p.root, made: p.rootMade,
		embedded: c.UpstreamEndpoint == "", store: c.storePlace(), version: version,
	}
}
