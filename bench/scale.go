package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	awskms "github.com/aws/aws-sdk-go-v2/service/kms"

	"waxseal/bench/nullstore"
)

// scaleCurve is how a cost grows with a number.
type scaleCurve struct {
	Name  string      `json:"name"`
	File  string      `json:"file"`
	X     string      `json:"x"`
	Y     string      `json:"y"`
	Lines []scaleLine `json:"lines"`
	Note  string      `json:"note"`
}

type scaleLine struct {
	Name   string  `json:"name"`
	Points []point `json:"points"`
}

func (s scaleCurve) chart() chart {
	c := chart{file: s.File, title: s.Name, x: s.X, y: s.Y, logX: true}
	for _, l := range s.Lines {
		c.lines = append(c.lines, series{name: l.Name, points: l.Points})
	}
	return c
}

func (s *scaleCurve) add(line string, x, y float64) {
	for i := range s.Lines {
		if s.Lines[i].Name == line {
			s.Lines[i].Points = append(s.Lines[i].Points, point{x, y})
			return
		}
	}
	s.Lines = append(s.Lines, scaleLine{line, []point{{x, y}}})
}

// scaler is a waxseal in front of a null store, with many users.
type scaler struct {
	*paths
	s      *sealer
	users  []user
	window time.Duration
	quick  bool
}

const cpuMillis = "CPU milliseconds a request"

// runScale measures all curves.
func runScale(ctx context.Context, bin string, quick bool) (all []scaleCurve, envelope int, err error) {
	s := &scaler{window: 3 * time.Second, quick: quick}
	if quick {
		s.window = 700 * time.Millisecond
	}
	if err := s.start(ctx, bin); err != nil {
		return nil, 0, err
	}
	defer s.stop()
	if envelope, err = s.envelopeBytes(ctx); err != nil {
		return nil, 0, err
	}
	for _, curve := range []func(context.Context) (*scaleCurve, error){s.byUsers, s.byKeys, s.byParts, s.byObjects} {
		c, err := curve(ctx)
		if err != nil {
			return nil, 0, fmt.Errorf("scale: %w", err)
		}
		all = append(all, *c)
	}
	return all, envelope, nil
}

// upTo are the powers of ten from a to b.
func upTo(a, b int) (all []int) {
	for n := a; n <= b; n *= 10 {
		all = append(all, n)
	}
	return all
}

func (s *scaler) most(quick, full int) int {
	if s.quick {
		return quick
	}
	return full
}

func (s *scaler) start(ctx context.Context, bin string) error {
	dir, err := os.MkdirTemp("", "waxseal-bench-")
	if err != nil {
		return err
	}
	s.paths = &paths{dir: dir}
	var conf strings.Builder
	conf.WriteString("users:\n")
	for i := range s.most(100, 10_000) {
		u := user{fmt.Sprintf("AKIASCALE%011d", i), fmt.Sprintf("secret-of-user-%025d", i)}
		s.users = append(s.users, u)
		fmt.Fprintf(&conf, "  - {name: user-%d, access_key: %s, secret_key: %s}\n", i, u.access, u.secret)
	}
	file := filepath.Join(dir, "waxseal.yaml")
	if err := os.WriteFile(file, []byte(conf.String()), 0o600); err != nil {
		return err
	}
	if err := s.startStore(ctx); err != nil {
		return err
	}
	s.s, err = s.startSealer(ctx, bin, "waxseal", "--config", file)
	if err != nil {
		s.stop()
	}
	return err
}

func (s *scaler) target() *target {
	return &target{name: sseKMS, addr: s.s.addr, admin: s.s.admin, proc: s.s.proc, put: map[string]string{
		"x-amz-server-side-encryption": "aws:kms", "x-amz-server-side-encryption-bucket-key-enabled": "true"}}
}

// cost is the CPU of a request when eight connections send these in turn, in milliseconds.
func (s *scaler) cost(ctx context.Context, asks []*ask) (float64, error) {
	l := &load{t: s.target()}
	const conns = 8
	rand.Shuffle(len(asks), func(i, j int) { asks[i], asks[j] = asks[j], asks[i] })
	for i := range conns {
		w := &worker{client: client{addr: s.s.addr, moved: &l.moved}}
		for j := i % len(asks); j < len(asks); j += conns {
			w.wires = append(w.wires, sign(asks[j]))
		}
		l.workers = append(l.workers, w)
	}
	f, err := l.run(ctx, s.window/3, s.window)
	if err == nil && f.Errors > 0 {
		err = fmt.Errorf("%d requests failed", f.Errors)
	}
	return f.CPUPer1000, err
}

// asksAtOnce is the number of different objects of a measurement, spread over all objects.
const asksAtOnce = 4000

func (s *scaler) byUsers(ctx context.Context) (*scaleCurve, error) {
	c := &scaleCurve{Name: "Users", File: "scale-users", X: "users", Y: cpuMillis,
		Note: "GET and PUT of 4 KiB in one bucket under one bucket key, by so many users in turn. An authorisation lasts five minutes: that of a user falls into their first turn, with few users before the measurement."}
	t := s.target()
	if _, _, err := once(t.putAsk(nullstore.KeptPrefix+"users", 4*kib)); err != nil {
		return nil, err
	}
	for _, n := range upTo(1, len(s.users)) {
		var gets, puts []*ask
		for i := range max(8, n) {
			u := s.users[i%n]
			get, put := t.getAsk(nullstore.KeptPrefix+"users"), t.putAsk(fmt.Sprintf("drop/%d", i), 4*kib)
			get.user, put.user = u, u
			gets, puts = append(gets, get), append(puts, put)
		}
		if err := s.pair(ctx, c, n, gets, puts); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func (s *scaler) pair(ctx context.Context, c *scaleCurve, n int, gets, puts []*ask) error {
	for _, l := range []struct {
		line string
		asks []*ask
	}{{"GET", gets}, {"PUT", puts}} {
		v, err := s.cost(ctx, l.asks)
		if err != nil {
			return fmt.Errorf("%s, %d: %w", c.Name, n, err)
		}
		c.add(l.line, float64(n), v)
	}
	return nil
}

// makeKeys makes KMS keys over the KMS API.
func (s *scaler) makeKeys(ctx context.Context, n int) ([]string, error) {
	api := awskms.New(awskms.Options{Region: benchRegion, BaseEndpoint: aws.String("http://" + s.s.kms),
		Credentials: credentials.NewStaticCredentialsProvider(benchAccess, benchSecret, "")})
	var arns []string
	for range n {
		out, err := api.CreateKey(ctx, &awskms.CreateKeyInput{})
		if err != nil {
			return nil, err
		}
		arns = append(arns, aws.ToString(out.KeyMetadata.Arn))
	}
	return arns, nil
}

func (s *scaler) byKeys(ctx context.Context) (*scaleCurve, error) {
	c := &scaleCurve{Name: "KMS keys", File: "scale-keys", X: "KMS keys", Y: cpuMillis,
		Note: "GET and PUT of 4 KiB in one bucket, under so many KMS keys in turn, with Bucket Keys. Each bucket key has been opened before the measurement and stays in memory: opening it is not part of the figure."}
	arns, err := s.makeKeys(ctx, s.most(100, 1000))
	if err != nil {
		return nil, err
	}
	t := s.target()
	for _, n := range upTo(1, len(arns)) {
		var gets, puts []*ask
		for i := range max(8, n) {
			key := fmt.Sprintf("%skeys/%d", nullstore.KeptPrefix, i%n)
			put := t.putAsk(key, 4*kib)
			put.header = map[string]string{"x-amz-server-side-encryption-aws-kms-key-id": arns[i%n]}
			for k, v := range t.put {
				put.header[k] = v
			}
			if _, _, err := once(put); err != nil {
				return nil, err
			}
			drop := *put
			drop.path = object(fmt.Sprintf("drop/%d", i))
			gets, puts = append(gets, t.getAsk(key)), append(puts, &drop)
		}
		if err := s.pair(ctx, c, n, gets, puts); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func (s *scaler) byObjects(ctx context.Context) (*scaleCurve, error) {
	c := &scaleCurve{Name: "Objects in a bucket", File: "scale-objects", X: "objects", Y: cpuMillis,
		Note: "GET and HEAD of objects of 64 bytes chosen evenly, and one page of a listing (1,000 keys; per key) seen before, with so many objects in the bucket."}
	t := s.target()
	t.keep = nullstore.KeptPrefix + "objects/"
	prep := &prepared{done: make(map[string]bool)}
	for _, n := range upTo(1000, s.most(10_000, 1_000_000)) {
		if err := prep.ensureKeys(t, n); err != nil {
			return nil, err
		}
		prep.settle(ctx)
		var gets, heads []*ask
		for i := range min(n, asksAtOnce) {
			key := fmt.Sprintf("%s%07d", t.listPrefix(n), i*(n/min(n, asksAtOnce)))
			gets, heads = append(gets, t.getAsk(key)), append(heads, t.ask(http.MethodHead, key, "", nil, nil))
		}
		for _, l := range []struct {
			line string
			asks []*ask
		}{{"GET", gets}, {"HEAD", heads}} {
			v, err := s.cost(ctx, l.asks)
			if err != nil {
				return nil, err
			}
			c.add(l.line, float64(n), v)
		}
		f, err := cell{Op: opList, Size: int64(min(n, 10_000)), Conc: 1}.listIn(ctx, t, n, s.window)
		if err != nil {
			return nil, err
		}
		c.add("LIST, for each key", float64(n), f.CPUPer1000/listPage)
	}
	return c, nil
}

// envelopeBytes returns the bytes added by waxseal to an object's metadata.
func (s *scaler) envelopeBytes(ctx context.Context) (int, error) {
	t := s.target()
	if _, _, err := once(t.putAsk(nullstore.KeptPrefix+"envelope", 4*kib)); err != nil {
		return 0, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, "http://"+s.addr+object(nullstore.KeptPrefix+"envelope"), nil)
	if err != nil {
		return 0, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	return len(resp.Header.Get("X-Amz-Meta-Waxseal")), nil
}

// byParts uploads parts of 5 MiB, S3's minimum, of an object discarded by the store.
func (s *scaler) byParts(ctx context.Context) (*scaleCurve, error) {
	c := &scaleCurve{Name: "Parts of an upload", File: "scale-parts", X: "parts", Y: "CPU milliseconds a part",
		Note: "Multipart uploads of parts of 5 MiB: CPU of UploadPart, and of CompleteMultipartUpload divided by the parts. CPU is counted in hundredths of a second: figures of fewer than a hundred parts are coarse."}
	for _, n := range upTo(1, s.most(100, 10_000)) {
		if err := s.uploadOf(ctx, c, n); err != nil {
			return nil, err
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	return c, nil
}

func (s *scaler) uploadOf(ctx context.Context, c *scaleCurve, n int) error {
	t := s.target()
	conn := &client{addr: t.addr}
	defer conn.close()
	u, err := beginUpload(conn, t, "drop/parts")
	if err != nil {
		return err
	}
	before, err := t.proc.cpu()
	if err != nil {
		return err
	}
	for i := 1; i <= n; i++ {
		if err := u.part(i, 5*mib); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	sent, err := t.proc.cpu()
	if err != nil {
		return err
	}
	if _, err := u.complete(); err != nil {
		return err
	}
	done, err := t.proc.cpu()
	if err != nil {
		return err
	}
	if done < sent {
		return errors.New("CPU time ran backwards")
	}
	c.add("UploadPart", float64(n), float64((sent-before).Milliseconds())/float64(n))
	c.add("Complete", float64(n), float64((done-sent).Milliseconds())/float64(n))
	return nil
}
