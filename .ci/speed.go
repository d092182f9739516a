// speed measures PUT and GET of small objects at several servers in turn, so that each round has all of them on the same machine at nearly
// the same time. .ci/embedded-speed starts the servers.
//
//	go run .ci/speed.go NAME=http://KEY:SECRET@HOST:PORT[?sse]...
//
// SIZE (4096), CONNECTIONS (8), ROUNDS (5) and LENGTH (4, the seconds of an operation in a round) are variables. ?sse asks for SSE-S3 by header.
package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/minio/minio-go/v7/pkg/encrypt"
)

type target struct {
	name      string
	client    *minio.Client
	options   minio.PutObjectOptions
	put, gets []float64 // a second, of each round
}

func number(name string, standard int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return standard
}

var (
	size, connections = number("SIZE", 4096), number("CONNECTIONS", 8)
	rounds, seconds   = number("ROUNDS", 5), number("LENGTH", 4)
	body              = make([]byte, size)
)

const bucket = "speed"

func main() {
	rand.Read(body)
	var targets []*target
	for _, arg := range os.Args[1:] {
		t, err := open(arg)
		if err != nil {
			log.Fatal(err)
		}
		targets = append(targets, t)
	}
	for round := range rounds {
		for i := range targets { // each begins a round in turn
			t := targets[(round+i)%len(targets)]
			t.put = append(t.put, t.rate(t.putOne))
			t.gets = append(t.gets, t.rate(t.getOne))
		}
	}
	fmt.Printf("%-14s %28s %28s\n", "a second", "PUT (least, median, most)", "GET (least, median, most)")
	for _, t := range targets {
		fmt.Printf("%-14s %28s %28s\n", t.name, spread(t.put), spread(t.gets))
	}
}

func open(arg string) (*target, error) {
	name, address, _ := strings.Cut(arg, "=")
	u, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	secret, _ := u.User.Password()
	t := &target{name: name}
	if u.RawQuery == "sse" {
		t.options.ServerSideEncryption = encrypt.NewSSE()
	}
	t.client, err = minio.New(u.Host, &minio.Options{Creds: credentials.NewStaticV4(u.User.Username(), secret, ""), Region: "us-east-1"})
	if err != nil {
		return nil, err
	}
	return t, t.client.MakeBucket(context.Background(), bucket, minio.MakeBucketOptions{})
}

// rate is how often all connections together do an operation in a second.
func (t *target) rate(do func(connection, n int) error) float64 {
	var done atomic.Int64
	var all sync.WaitGroup
	begin := time.Now()
	for c := range connections {
		all.Go(func() {
			for n := 0; time.Since(begin) < time.Duration(seconds)*time.Second; n++ {
				if err := do(c, n); err != nil {
					log.Fatalf("%s: %v", t.name, err)
				}
				done.Add(1)
			}
		})
	}
	all.Wait()
	return float64(done.Load()) / time.Since(begin).Seconds()
}

// key is one of 100 keys of a connection.
func key(connection, n int) string { return fmt.Sprintf("%d/%d", connection, n%100) }

func (t *target) putOne(connection, n int) error {
	_, err := t.client.PutObject(context.Background(), bucket, key(connection, n), bytes.NewReader(body), int64(size), t.options)
	return err
}

func (t *target) getOne(connection, n int) error {
	o, err := t.client.GetObject(context.Background(), bucket, key(connection, n%20), minio.GetObjectOptions{})
	if err != nil {
		return err
	}
	defer o.Close()
	if got, err := io.Copy(io.Discard, o); err != nil || got != int64(size) {
		return fmt.Errorf("%d bytes: %w", got, err)
	}
	return nil
}

func spread(rates []float64) string {
	slices.Sort(rates)
	return fmt.Sprintf("%.0f  %.0f  %.0f", rates[0], rates[len(rates)/2], rates[len(rates)-1])
}
