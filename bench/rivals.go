package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"waxseal/bench/nullstore"
)

// Ways of further programs, measured when the programs are on PATH or named by an environment variable.
const (
	rcloneWay  = "rclone crypt"
	minioPlain = "MinIO"
	minioSSE   = "MinIO SSE-S3"
	onMinIO    = "waxseal on MinIO"
)

// program finds a rival's program.
func program(name, variable string) (string, error) {
	if bin := os.Getenv(variable); bin != "" {
		return filepath.Abs(bin)
	}
	bin, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("%s is not on PATH, and %s is not set", name, variable)
	}
	return bin, nil
}

// startRivals starts the installed baselines. A baseline that does not start, or lacks a cell's operation, is named
// and left out.
func (p *paths) startRivals(ctx context.Context, waxseal string) {
	if err := p.startRclone(ctx); err != nil {
		p.skipped = append(p.skipped, rcloneWay+": "+err.Error())
	}
	if err := p.startMinIO(ctx, waxseal); err != nil {
		p.skipped = append(p.skipped, minioPlain+", "+minioSSE+" and "+onMinIO+": "+err.Error())
	}
}

const rcloneConf = `[store]
type = s3
provider = Other
endpoint = http://%s
access_key_id = store
secret_access_key = store-secret
region = us-east-1
force_path_style = true
no_check_bucket = true
no_head = true

[sealed]
type = crypt
remote = store:
filename_encryption = off
directory_name_encryption = false
password = %s
`

// startRclone serves S3 over rclone's crypt over the null store.
func (p *paths) startRclone(ctx context.Context) error {
	bin, err := program("rclone", "WAXSEAL_BENCH_RCLONE")
	if err != nil {
		return err
	}
	password, err := exec.CommandContext(ctx, bin, "obscure", "a password for benchmarks").Output()
	if err != nil {
		return fmt.Errorf("rclone obscure: %w", err)
	}
	conf := filepath.Join(p.dir, "rclone.conf")
	if err := os.WriteFile(conf, fmt.Appendf(nil, rcloneConf, p.addr, bytes.TrimSpace(password)), 0o600); err != nil {
		return err
	}
	addr, err := freeAddr()
	if err != nil {
		return err
	}
	proc, err := startProcess(ctx, p.dir, "rclone", addr, nil, bin, "--config", conf, "serve", "s3", "sealed:", "--addr", addr,
		"--auth-key", benchAccess+","+benchSecret, "--vfs-cache-mode", "off")
	if err != nil {
		return err
	}
	p.procs = append(p.procs, proc)
	p.targets = append(p.targets, &target{name: rcloneWay, addr: addr, proc: proc, keep: nullstore.KeptPrefix + "rclone/", rival: true})
	return nil
}

// startMinIO starts MinIO with a key of its own on a directory, and a waxseal in front of it.
func (p *paths) startMinIO(ctx context.Context, waxseal string) error {
	bin, err := program("minio", "WAXSEAL_BENCH_MINIO")
	if err != nil {
		return err
	}
	addr, err := freeAddr()
	if err != nil {
		return err
	}
	key := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{9}, 32))
	proc, err := startProcess(ctx, p.dir, "minio", addr, []string{"MINIO_ROOT_USER=" + benchAccess, "MINIO_ROOT_PASSWORD=" + benchSecret,
		"MINIO_KMS_SECRET_KEY=bench:" + key}, bin, "server", "--quiet", "--address", addr, filepath.Join(p.dir, "minio-data"))
	if err != nil {
		return err
	}
	p.procs = append(p.procs, proc)
	if err := makeBucket(ctx, addr); err != nil {
		return err
	}
	s, err := p.startSealerAt(ctx, waxseal, "waxseal-minio", addr, benchUser)
	if err != nil {
		return err
	}
	p.targets = append(p.targets,
		&target{name: minioPlain, addr: addr, proc: proc, keep: nullstore.KeptPrefix + "minio/", rival: true},
		&target{name: minioSSE, addr: addr, proc: proc, keep: nullstore.KeptPrefix + "sse/", rival: true,
			put: map[string]string{"x-amz-server-side-encryption": "AES256"}},
		&target{name: onMinIO, addr: s.addr, admin: s.admin, proc: s.proc, keep: nullstore.KeptPrefix + "waxseal/", rival: true,
			put: map[string]string{"x-amz-server-side-encryption": "aws:kms", "x-amz-server-side-encryption-bucket-key-enabled": "true"}})
	return nil
}

// makeBucket creates the bucket, and retries until the store is ready.
func makeBucket(ctx context.Context, addr string) error {
	var err error
	for range 50 {
		if _, _, err = once(&ask{method: http.MethodPut, host: addr, path: "/" + benchBucket}); err == nil || !strings.Contains(err.Error(), "503") {
			return err
		}
		if !pause(ctx, startTimeout/100) {
			return ctx.Err()
		}
	}
	return err
}
