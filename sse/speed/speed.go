// Package speed measures sealing, opening and checksums on this machine.
package speed

import (
	"crypto/md5"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"runtime"
	"sync"
	"time"

	"github.com/minio/crc64nvme"

	"waxseal/sse"
)

// plainSize is the number of plaintext bytes in a round of a measurement.
const plainSize = 8 << 20

// measurement is a line of the table.
type measurement struct {
	name  string
	round func(s *sample) error // works through the sample once
}

// Print prints a table of speeds in MB/s, on one core and on all cores. Each measurement takes the given time.
func Print(w io.Writer, took time.Duration) error {
	keys := sse.NewKeys(false)
	defer keys.Zero()
	double := sse.NewKeys(true)
	defer double.Zero()
	plain := make([]byte, plainSize)
	rand.Read(plain)
	cores := runtime.GOMAXPROCS(0)
	_, err := fmt.Fprintf(w, "%s/%s, %d cores, MB/s of plaintext\n%-36s %10s %10s\n", runtime.GOOS, runtime.GOARCH, cores,
		"", "one core", "all cores")
	if err != nil {
		return err
	}
	for _, m := range []struct {
		measurement
		keys sse.Keys
	}{
		{measurement{"seal (AES-256-GCM-HKDF, 64 KiB)", seal(keys)}, keys},
		{measurement{"open", open(keys)}, keys},
		{measurement{"seal twice (DSSE-KMS)", seal(double)}, double},
		{measurement{"open twice", open(double)}, double},
		{measurement{"seal and MD5 (SSE-S3 with S3's ETag)", sealHashing(keys, md5.New)}, keys},
		{measurement{"MD5", hashing(md5.New)}, keys},
		{measurement{"SHA-256", hashing(sha256.New)}, keys},
		{measurement{"SHA-1", hashing(sha1.New)}, keys},
		{measurement{"CRC32C", hashing(func() hash.Hash { return crc32.New(crc32.MakeTable(crc32.Castagnoli)) })}, keys},
		{measurement{"CRC64NVME", hashing(func() hash.Hash { return crc64nvme.New() })}, keys},
	} {
		if err := m.print(w, plain, m.keys, took, cores); err != nil {
			return err
		}
	}
	return nil
}

func (m measurement) print(w io.Writer, plain []byte, keys sse.Keys, took time.Duration, cores int) error {
	var speeds [2]float64
	for i, workers := range []int{1, cores} {
		mbs, err := m.measure(plain, keys, took, workers)
		if err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
		speeds[i] = mbs
	}
	_, err := fmt.Fprintf(w, "%-36s %10.0f %10.0f\n", m.name, speeds[0], speeds[1])
	return err
}

// measure returns the speed of some workers together, in MB/s.
func (m measurement) measure(plain []byte, keys sse.Keys, took time.Duration, workers int) (float64, error) {
	s, err := newSample(plain, keys)
	if err != nil {
		return 0, err
	}
	var wg sync.WaitGroup
	rounds := make([]int, workers)
	errs := make([]error, workers)
	start := time.Now()
	for i := range workers {
		wg.Go(func() {
			for errs[i] == nil && (rounds[i] == 0 || time.Since(start) < took) {
				errs[i] = m.round(s)
				rounds[i]++
			}
		})
	}
	wg.Wait()
	elapsed := time.Since(start)
	total := 0
	for i := range workers {
		if errs[i] != nil {
			return 0, errs[i]
		}
		total += rounds[i]
	}
	return float64(total) * plainSize / 1e6 / elapsed.Seconds(), nil
}
