package main

import (
	"bytes"
	"context"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/rogpeppe/go-internal/testscript"

	"waxseal/proxy/jobs"
)

func TestMain(m *testing.M) { testscript.Main(m, map[string]func(){"waxseal": main}) }

// TestScripts runs the program as a person does: testdata/*.txt.
//
//	start NAME ARGS...  a server on free ports in the background, output in NAME.out and NAME.err; sets S3, KMS and ADMIN
//	end NAME            stops it as a service manager does, and requires a clean exit
//	signal NAME SIGNAL  sends TERM or HUP and does not wait
//	gone NAME           waits for the end of a server whose signal ends it at once
//	crash NAME          ends it as a power cut does
//	private FILE...     nobody else can read the files
//	put S3URL BYTES     makes the bucket if need be and puts an object, as root
//
// and, in script_kms_test.go:
//
//	freeaddr NAME                        sets NAME to a free loopback address
//	fetch URL                            writes a response body to the file fetched
//	kmskey NAME                          makes a KMS key at $KMS as root; sets NAME to its ARN
//	transit KEY...                       a Transit engine with these keys in the background; sets TRANSIT
//	s3 USER put S3URL BYTES [MODE [KEY]] puts an object as root, or as a user NAME with AKIANAME and NAME-secret
//	s3 USER get S3URL BYTES              reads it again
//	delivered BUCKET EVENT COUNT         waits until the audit bucket has COUNT records of EVENT
func TestScripts(t *testing.T) {
	noBuiltins(t)
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"start": startServer, "end": endServer, "crash": crashServer, "signal": signalServer, "gone": goneServer, "private": private,
			"put": putObject, "freeaddr": freeAddr, "fetch": fetchURL, "kmskey": makeKMSKey, "transit": startTransit,
			"s3": useS3, "delivered": waitDelivered, "spoil": spoilFile, "truncate": truncateFile,
		},
		Setup: func(e *testscript.Env) error {
			e.Values[servers{}] = map[string]*exec.Cmd{}
			return nil
		},
		RequireUniqueNames: true,
	})
}

// noBuiltins fails for scripts with testscript's own stop and kill, which do not act on the servers.
func noBuiltins(t *testing.T) {
	t.Helper()
	scripts, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(scripts) == 0 {
		t.Fatal(scripts, err)
	}
	for _, name := range scripts {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if found := regexp.MustCompile(`(?m)^(stop|kill)( .*)?$`).Find(text); found != nil {
			t.Errorf("%s: %q is testscript's: use end or crash", name, found)
		}
	}
}

type servers struct{}

func running(ts *testscript.TestScript) map[string]*exec.Cmd {
	return ts.Value(servers{}).(map[string]*exec.Cmd)
}

var readyLine = regexp.MustCompile(`(?m)^waxseal is ready: S3 ([^,]+), KMS ([^,]+), admin ([^,]+), data in `)

func startServer(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: start NAME ARGS...")
	}
	name := args[0]
	out, err := os.Create(ts.MkAbs(name + ".out"))
	ts.Check(err)
	defer out.Close()
	errs, err := os.Create(ts.MkAbs(name + ".err"))
	ts.Check(err)
	defer errs.Close()
	cmd := exec.Command("waxseal", append([]string{"serve", "--listen=127.0.0.1:0", "--kms-listen=127.0.0.1:0",
		"--admin-listen=127.0.0.1:0", "--drain-delay=0"}, args[1:]...)...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = ts.MkAbs("."), out, errs
	cmd.Env = []string{"PATH=" + ts.Getenv("PATH"), "HOME=" + ts.Getenv("HOME"), "TMPDIR=" + ts.Getenv("TMPDIR")}
	for _, name := range []string{"WAXSEAL_ACCESS_KEY", "WAXSEAL_SECRET_KEY", "WAXSEAL_ROOT_SECRET", "WAXSEAL_KMS_ACCESS_KEY", "WAXSEAL_KMS_SECRET_KEY", "WAXSEAL_KMS_TOKEN"} {
		if v := ts.Getenv(name); v != "" {
			cmd.Env = append(cmd.Env, name+"="+v)
		}
	}
	ts.Check(cmd.Start())
	ts.Defer(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill() // the process may have ended already
			_ = cmd.Wait()
		}
	})
	running(ts)[name] = cmd
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		text, err := os.ReadFile(out.Name())
		ts.Check(err)
		if m := readyLine.FindSubmatch(text); m != nil && bytes.HasSuffix(text, []byte("\n")) {
			ts.Setenv("S3", string(m[1]))
			ts.Setenv("KMS", string(m[2]))
			ts.Setenv("ADMIN", strings.TrimPrefix(string(m[3]), "http://"))
			return
		}
	}
	text, err := os.ReadFile(errs.Name())
	ts.Check(err)
	ts.Fatalf("%s is not ready: %s", name, text)
}

func endServer(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: end NAME")
	}
	cmd := running(ts)[args[0]]
	ts.Check(cmd.Process.Signal(syscall.SIGTERM))
	if err := cmd.Wait(); err != nil {
		text, readErr := os.ReadFile(ts.MkAbs(args[0] + ".err"))
		ts.Check(readErr)
		ts.Fatalf("%s: %v: %s", args[0], err, text)
	}
}

func signalServer(ts *testscript.TestScript, neg bool, args []string) {
	sig := map[string]os.Signal{"TERM": syscall.SIGTERM, "HUP": syscall.SIGHUP}
	if neg || len(args) != 2 || sig[args[1]] == nil {
		ts.Fatalf("usage: signal NAME TERM|HUP")
	}
	ts.Check(running(ts)[args[0]].Process.Signal(sig[args[1]]))
	time.Sleep(200 * time.Millisecond) // by now the program has taken the signal
}

func goneServer(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: gone NAME")
	}
	cmd := running(ts)[args[0]]
	late := time.AfterFunc(5*time.Second, func() { _ = cmd.Process.Kill() })
	if err := cmd.Wait(); err == nil || !late.Stop() {
		ts.Fatalf("%s did not end at once: %v", args[0], err)
	}
}

func crashServer(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: crash NAME")
	}
	cmd := running(ts)[args[0]]
	ts.Check(cmd.Process.Kill())
	if err := cmd.Wait(); err == nil {
		ts.Fatalf("%s ended by itself", args[0])
	}
}

func putObject(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: put S3URL BYTES")
	}
	bucket, key, err := jobs.ParseURL(args[0])
	ts.Check(err)
	size, err := strconv.Atoi(args[1])
	ts.Check(err)
	core := s3As(ts, "root")
	ctx := context.Background()
	there, err := core.BucketExists(ctx, bucket)
	ts.Check(err)
	if !there {
		ts.Check(core.MakeBucket(ctx, bucket, minio.MakeBucketOptions{}))
	}
	_, err = core.Client.PutObject(ctx, bucket, key, bytes.NewReader(make([]byte, size)), int64(size),
		minio.PutObjectOptions{PartSize: 5 << 20})
	ts.Check(err)
}

func private(ts *testscript.TestScript, neg bool, args []string) {
	for _, name := range args {
		info, err := os.Stat(ts.MkAbs(name))
		ts.Check(err)
		if open := info.Mode().Perm()&0o077 != 0; open != neg {
			ts.Fatalf("%s has mode %v", name, info.Mode())
		}
	}
}

// spoilFile changes a byte in the middle of the largest file below a directory.
func spoilFile(ts *testscript.TestScript, _ bool, args []string) {
	var largest string
	var size int64
	ts.Check(filepath.WalkDir(ts.MkAbs(args[0]), func(name string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := os.Stat(name)
		if err == nil && info.Mode().IsRegular() && info.Size() > size {
			largest, size = name, info.Size()
		}
		return err
	}))
	b, err := os.ReadFile(largest)
	ts.Check(err)
	b[size/2] ^= 1
	ts.Check(os.WriteFile(largest, b, 0o600))
}

// truncateFile cuts a bbolt file after its first pages.
func truncateFile(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(os.Truncate(ts.MkAbs(args[0]), 4*int64(os.Getpagesize())))
}
