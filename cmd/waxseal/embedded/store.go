package embedded

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/versity/versitygw/auth"
	"github.com/versity/versitygw/backend/meta"
	"github.com/versity/versitygw/backend/posix"
	"github.com/versity/versitygw/embedgw"
	"github.com/versity/versitygw/s3api"
)

// Endpoint is the address to use with a Store's RoundTripper. The host is only a name to sign.
const Endpoint = "http://embedded.waxseal"

// Config says where the store is.
type Config struct {
	Dir    string // absolute: starting a store changes the process's working directory
	Region string // default us-east-1
	Log    *slog.Logger
}

// Store is a running embedded store. One process can run one at a time.
type Store struct {
	AccessKey string
	SecretKey string
	Region    string

	socket  string
	scratch string // directory made for the socket, removed with the store
	sync    *syncer
	stop    context.CancelFunc
	ended   chan struct{}
	err     error

	transport http.Transport
	once      sync.Once
}

// maxSocketPath is below every system's limit for a unix socket's address (104 with its NUL on macOS, 108 on Linux).
const maxSocketPath = 100

// Limits of the gateway, above what the proxy in front of it lets in.
const (
	maxConnections = 16384
	maxRequests    = 8192
	maxCopySize    = 5 << 30
	maxParts       = 10000
)

// Start makes the store's directories where they are missing, recovers from a crash, and serves.
func Start(ctx context.Context, cfg Config) (*Store, error) {
	if !filepath.IsAbs(cfg.Dir) {
		return nil, fmt.Errorf("embedded store: %q is not an absolute path", cfg.Dir)
	}
	if cfg.Region == "" {
		cfg.Region = "us-east-1"
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	s := &Store{AccessKey: "waxseal-embedded", SecretKey: newSecret(), Region: cfg.Region,
		sync: new(syncer), ended: make(chan struct{})}
	be, err := s.open(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("embedded store: %w", err)
	}
	if err := s.pickSocket(cfg); err != nil {
		be.Shutdown()
		return nil, fmt.Errorf("embedded store: %w", err)
	}
	s.transport.DialContext = s.DialContext
	s.transport.MaxIdleConnsPerHost = 256
	s.transport.IdleConnTimeout = time.Minute
	s.transport.DisableCompression = true
	if err := s.serve(ctx, be); err != nil {
		return nil, errors.Join(fmt.Errorf("embedded store: %w", err), s.removeScratch())
	}
	return s, nil
}

// open prepares the directories and the backend.
func (s *Store) open(dir string) (*durable, error) {
	l := layout{data: filepath.Join(dir, "data"), versions: filepath.Join(dir, "versions")}
	for _, d := range []string{dir, l.data, l.versions} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, err
		}
	}
	if err := checkAttributes(l.data); err != nil {
		return nil, err
	}
	attrs := attributes{layout: l, sync: s.sync}
	if err := attrs.recover(); err != nil {
		return nil, fmt.Errorf("recover: %w", err)
	}
	if err := s.sync.chain(l.data, filepath.Dir(dir)); err != nil {
		return nil, err
	}
	if err := s.sync.path(l.versions); err != nil {
		return nil, err
	}
	be, err := newPosix(l, attrs)
	if err != nil {
		return nil, err
	}
	return &durable{Posix: be, attrs: attrs, locks: newLocks()}, nil
}

func newPosix(l layout, attrs attributes) (*posix.Posix, error) {
	opts := posix.PosixOpts{
		VersioningDir: l.versions,
		// A nameless file replaces an existing one through a temporary name beside it, which a crash would leave in
		// the bucket's listing. A named one waits in the bucket's staging directory, which recovery empties.
		ForceNoTmpFile: true,
		// The locks in this process are enough: the state store beside it admits one process.
		ForceNoObjLockFile:  true,
		ValidateBucketNames: true,
		CopyObjectThreshold: maxCopySize,
	}
	opts.SetNewDirPerm(0o700)
	opts.SetNewFilePerm(0o600)
	return quietly(func() (*posix.Posix, error) { return posix.New(l.data, attrs, opts) })
}

// quietly keeps a line that the backend prints at start off this program's standard output.
func quietly(f func() (*posix.Posix, error)) (*posix.Posix, error) {
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		return nil, err
	}
	stdout := os.Stdout
	os.Stdout = null
	be, err := f()
	os.Stdout = stdout
	return be, errors.Join(err, null.Close())
}

// checkAttributes tries an extended attribute of the size that a large object's metadata needs.
func checkAttributes(dir string) error {
	f, err := os.CreateTemp(dir, ".waxseal-check-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if err := (meta.XattrMeta{}).StoreAttribute(f, "", "", "waxseal-check", make([]byte, 3<<10)); err != nil {
		return fmt.Errorf("the file system of %s does not keep extended attributes of 3 KiB (%w): choose another "+
			"--data-dir (ext4, xfs, btrfs, zfs) or a store with --upstream-endpoint", dir, err)
	}
	return nil
}

// pickSocket puts the socket into the store's directory or, where that is too long for a socket's address or reads
// as host and port, into a new private directory among the temporary files.
func (s *Store) pickSocket(cfg Config) error {
	s.socket = filepath.Join(cfg.Dir, "s3.sock")
	if len(s.socket) <= maxSocketPath && !strings.Contains(s.socket, ":") {
		return nil
	}
	dir, err := os.MkdirTemp("", "waxseal-")
	if err != nil {
		return err
	}
	s.scratch, s.socket = dir, filepath.Join(dir, "s3.sock")
	if len(s.socket) > maxSocketPath {
		return errors.Join(fmt.Errorf("neither %s nor %s is short enough for a unix socket: set TMPDIR or --data-dir",
			cfg.Dir, dir), s.removeScratch())
	}
	cfg.Log.Info("the embedded store's socket is not in its directory, whose path is too long for it", "socket", s.socket)
	return nil
}

// serve runs the gateway until ctx ends, and returns when it answers.
func (s *Store) serve(ctx context.Context, be *durable) error {
	ctx, s.stop = context.WithCancel(ctx)
	ready := make(chan struct{})
	conf := &embedgw.Config{
		RootUserAccess: s.AccessKey, RootUserSecret: s.SecretKey, Region: s.Region,
		Ports: []string{s.socket}, SocketPerm: "0600",
		MaxConnections: maxConnections, MaxRequests: maxRequests, MultipartMaxParts: maxParts,
		KeepAlive: true, Quiet: true,
		IAMService: auth.NewIAMServiceSingle(auth.Account{Access: s.AccessKey, Secret: s.SecretKey, Role: auth.RoleAdmin}),
		// Buckets with names from before today's rules are the client's business.
		DisableStrictBucketNames: true,
		S3Options:                []s3api.Option{s3api.WithOnListen(sync.OnceFunc(func() { close(ready) }))},
	}
	go func() {
		defer close(s.ended)
		s.err = embedgw.RunVersityGW(ctx, be, conf)
	}()
	select {
	case <-ready:
		return nil
	case <-s.ended:
		s.stop()
		return s.err
	}
}

// DialContext connects to the store, whatever the address.
func (s *Store) DialContext(ctx context.Context, _, _ string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "unix", s.socket)
}

// RoundTripper sends requests for Endpoint to the store.
func (s *Store) RoundTripper() http.RoundTripper { return &s.transport }

// Socket is the unix socket that the store answers on. Only this user can open it.
func (s *Store) Socket() string { return s.socket }

// Syncs is how many files and directories were made durable since the start.
func (s *Store) Syncs() int64 { return s.sync.count.Load() }

// Ended is closed when the store serves no longer, asked or not.
func (s *Store) Ended() <-chan struct{} { return s.ended }

// Close finishes the requests in flight and stops.
func (s *Store) Close() error {
	s.once.Do(func() {
		s.transport.CloseIdleConnections()
		s.stop()
		<-s.ended
		s.err = errors.Join(s.err, s.removeScratch())
	})
	return s.err
}

func (s *Store) removeScratch() error {
	if s.scratch == "" {
		return nil
	}
	return os.RemoveAll(s.scratch)
}

func newSecret() string {
	var b [32]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}
