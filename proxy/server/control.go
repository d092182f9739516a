package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"
)

// withKeys opens the data directory's state and key service, if no waxseal serves from it.
func withKeys(ctx context.Context, c *Config, do func(*App) error) error {
	if _, err := os.Stat(dataDir(c.DataDir).state()); err != nil {
		return fmt.Errorf("--data-dir: %w", err)
	}
	own := *c
	own.NewState = false // only serve begins a state
	c = &own
	p := &App{}
	log := slog.New(slog.DiscardHandler)
	err := p.openData(ctx, c, log)
	if err == nil {
		err = p.openKeys(ctx, c, log)
	}
	if err == nil {
		err = do(p)
	}
	return errors.Join(err, p.Shutdown(ctx))
}

// Operator commands reach a running waxseal over the control socket. Only the user of that waxseal can open it.
//
//	GET  /backup        a consistent copy of the state
//	POST /rekey?prune=  a new root secret, and everything sealed again under it
//	GET  /audit         the proof of the audit records: audit.Trust
//	POST /audit/prune?before=  old audit records are removed
//	GET  /store         how to reach the embedded store
//	GET  /s3?job=&url=  how jobs reach the S3 endpoint
//	POST /job/end?job=&url=&error=  a job has ended
//	GET  /usage?month=  calls of the key service: usage.Report
//	GET  /ledger        sealed objects by key: ledger.Reading
//	POST /ledger/begin  a full walk begins
//	POST /ledger/commit?id=  its result, as JSON, replaces the ledger's estimate
//
// Each request but /audit, /usage, /ledger and /store has an audit record before it has an effect; a walk has the
// record of its job.

// maxControlPath is below every system's limit for a unix socket's address.
const maxControlPath = 100

// openControl serves the control socket until Shutdown.
func (p *App) openControl(_ context.Context, c *Config, log *slog.Logger) error {
	path := dataDir(c.DataDir).control()
	if len(path) > maxControlPath {
		log.Warn("backup, rekey and jobs need a stopped waxseal: the data directory's path is too long for a control socket")
		return nil
	}
	// This process holds the state's lock, so an existing socket belongs to a dead process.
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return fmt.Errorf("control socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return errors.Join(err, l.Close())
	}
	s := &http.Server{Handler: p.withEmbeddedStore(p.control(c)), ReadHeaderTimeout: 10 * time.Second,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn)}
	p.onClose(func(ctx context.Context) error {
		if err := s.Shutdown(ctx); err != nil {
			return errors.Join(err, s.Close()) // requests in flight are cut: the components behind them close next
		}
		return nil
	})
	go func() {
		if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			log.Error("the control socket has ended", "err", err)
		}
	}()
	return nil
}

func (p *App) control(c *Config) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /backup", p.backupOnControl(c))
	mux.HandleFunc("POST /rekey", func(w http.ResponseWriter, r *http.Request) {
		text, err := p.rekey(r.Context(), c, operatorOf(r), r.URL.Query().Get("prune") == "true")
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		fmt.Fprint(w, text)
	})
	mux.HandleFunc("GET /audit", p.tellAuditTrust)
	mux.HandleFunc("POST /audit/prune", p.pruneOnControl(c))
	mux.HandleFunc("GET /store", func(w http.ResponseWriter, _ *http.Request) {
		if p.store == nil {
			http.Error(w, "it serves from another store: name it with --upstream-endpoint", http.StatusNotFound)
			return
		}
		a := storeAccess{Endpoint: embeddedEndpoint, Region: c.UpstreamRegion, Socket: dataDir(c.DataDir).control()}
		if err := json.NewEncoder(w).Encode(a); err != nil {
			panic(http.ErrAbortHandler)
		}
	})
	mux.HandleFunc("GET /s3", p.tellJobs(c))
	mux.HandleFunc("POST /job/end", p.endJob(c))
	mux.HandleFunc("GET /usage", p.tellUsage)
	mux.HandleFunc("GET /ledger", p.tellLedger)
	mux.HandleFunc("POST /ledger/begin", p.beginWalkOnControl)
	mux.HandleFunc("POST /ledger/commit", p.commitWalkOnControl)
	return mux
}

// controlPatience is how long a reader of the control socket may read nothing before its response is cut.
const controlPatience = time.Minute

// pacedWriter is a response that ends if its reader stalls.
type pacedWriter struct {
	http.ResponseWriter
	patience time.Duration
}

func (w pacedWriter) Write(p []byte) (int, error) {
	if err := http.NewResponseController(w.ResponseWriter).SetWriteDeadline(time.Now().Add(w.patience)); err != nil {
		return 0, err
	}
	return w.ResponseWriter.Write(p)
}

// errNobodyServes is returned if no waxseal answers on the control socket.
var errNobodyServes = errors.New("no waxseal serves from this data directory")

// ask sends a request to the waxseal serving from the data directory.
func ask(ctx context.Context, dir dataDir, method, path string) (io.ReadCloser, error) {
	return askWith(ctx, dir, method, path, nil)
}

// askWith sends a request with a body.
func askWith(ctx context.Context, dir dataDir, method, path string, content []byte) (io.ReadCloser, error) {
	t := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", dir.control())
	}}
	req, err := http.NewRequestWithContext(ctx, method, "http://control"+path, bytes.NewReader(content))
	if err != nil {
		return nil, err
	}
	req.Header.Set(operatorHeader, thisOperator())
	resp, err := t.RoundTrip(req)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) || len(dir.control()) > maxControlPath {
		return nil, errNobodyServes
	}
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusOK {
		return resp.Body, nil
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	return nil, errors.Join(fmt.Errorf("the waxseal that serves says: %s", text), err)
}
