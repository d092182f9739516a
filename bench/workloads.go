package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	"waxseal/bench/nullstore"
)

// workload is a month of requests for encrypted objects.
type workload struct {
	Name       string `json:"name"`
	Writes     int64  `json:"writes_per_month"`
	Reads      int64  `json:"reads_per_month"`
	Tenants    int    `json:"tenants"` // each with a bucket, a KMS key and a user of its own
	Requesters int    `json:"requesters"`
	History    int    `json:"history_days"` // age of the oldest objects read
}

// workloads: the first is the source deck's.
var workloads = []workload{
	{"deck", 10_000, 2_000_000, 1, 1, 30},
	{"log shipping", 3_000_000, 3_000, 1, 20, 7},
	{"data lake", 200_000, 8_000_000, 1, 10, 90},
	{"backup", 500_000, 5_000, 1, 1, 30},
	{"many tenants", 1_000_000, 4_000_000, 200, 1, 30},
}

const monthLength = 30 * 24 * time.Hour

// variant is how a deployment is set up for a workload.
type variant struct {
	BucketKeys bool          `json:"bucket_keys"`
	Lifetime   time.Duration `json:"lifetime_ns"`
	Period     time.Duration `json:"period_ns"`
	Replicas   int           `json:"replicas"`
	Requesters int           `json:"requesters"`
	History    int           `json:"history_days"`
	Scale      int64         `json:"scale"` // the run covers 1/Scale of the month
}

// outcome is the cost of a run of a workload.
type outcome struct {
	Workload workload `json:"workload"`
	Variant  variant  `json:"variant"`
	Requests int64    `json:"s3_requests"` // really sent, of the counted requests
	Calls    int64    `json:"kms_calls"`   // counted in the audit log
	Generate int64    `json:"generate_data_key"`
	Decrypt  int64    `json:"decrypt"`
	Describe int64    `json:"describe_key"` // look-ups, seen by an external KMS as well
	Monthly  int64    `json:"kms_calls_per_month"`
	Bill     Bill     `json:"bill"`
	Seconds  float64  `json:"seconds"`
	Curve    []point  `json:"curve"`
}

// point of a curve: calls after so many requests.
type point struct {
	X float64 `json:"x"`
	Y float64 `json:"y"`
}

// run is a workload under way.
type run struct {
	*lab
	w       workload
	v       variant
	rng     *rand.Rand
	tenants []*tenant
}

type tenant struct {
	bucket, keyARN string
	users          []user
	objects        int // written so far
	history        int // of these, before the month
	stands         int // number of objects, at the month's own density, represented by the history's objects
}

// runWorkload runs a part of a month: its requests at the month's own density, over that part of the month on the
// lab's clock. The objects to read were written day by day before it, so that they lie under a realistic number of
// bucket keys.
func runWorkload(ctx context.Context, w workload, v variant, progress func(done, of int64)) (*outcome, error) {
	if v.Requesters > 0 {
		w.Requesters = v.Requesters
	}
	w.History = v.History
	l, err := newLab(ctx, labConfig{lifetime: v.Lifetime, period: v.Period, replicas: v.Replicas, users: max(w.Requesters, w.Tenants)})
	if err != nil {
		return nil, err
	}
	defer l.close()
	r := &run{lab: l, w: w, v: v, rng: rand.New(rand.NewPCG(1, uint64(v.Scale)))}
	if err := r.makeTenants(ctx); err != nil {
		return nil, err
	}
	if err := r.writeHistory(ctx); err != nil {
		return nil, fmt.Errorf("%s: history: %w", w.Name, err)
	}
	l.log.reset()
	described := r.described()
	begin := time.Now()
	out := &outcome{Workload: w, Variant: v}
	if err := r.month(ctx, out, progress); err != nil {
		return nil, fmt.Errorf("%s: %w", w.Name, err)
	}
	if l.log.failed > 0 {
		return nil, fmt.Errorf("%s: %d requests to the KMS failed", w.Name, l.log.failed)
	}
	out.Seconds = time.Since(begin).Seconds()
	out.Calls, out.Generate, out.Decrypt = l.log.total(), l.log.of("GenerateDataKey"), l.log.of("Decrypt")
	out.Describe = r.described() - described
	out.Monthly = out.Calls * v.Scale
	out.Bill = SymmetricMonth(int64(w.Tenants), out.Monthly).Bill()
	return out, nil
}

func (r *run) makeTenants(ctx context.Context) error {
	for i := range r.w.Tenants {
		arn, err := r.newKey(ctx)
		if err != nil {
			return err
		}
		t := &tenant{bucket: fmt.Sprintf("tenant-%d", i), keyARN: arn, users: r.users[:r.w.Requesters]}
		if r.w.Tenants > 1 {
			t.users = r.users[i : i+1]
		}
		r.tenants = append(r.tenants, t)
	}
	return nil
}

// described counts look-ups of keys, not billed by the embedded key service.
func (r *run) described() int64 {
	var n uint64
	for _, p := range r.replicas {
		n += p.app.BucketKeys.Stats().DescribeKey
	}
	return int64(n)
}

// writeHistory writes a few objects a day for each tenant, enough that every replica has a bucket key of each day.
// More would lie under the same keys; each object is read as often as all objects it stands for.
func (r *run) writeHistory(ctx context.Context) error {
	days := max(1, r.w.History)
	written := max(1, int(r.w.Writes)/30/r.w.Tenants)
	daily := min(written, 5*max(1, r.v.Replicas))
	for range days {
		for _, t := range r.tenants {
			for range daily {
				if err := r.write(t); err != nil {
					return err
				}
			}
			t.history, t.stands = t.objects, t.stands+written
		}
		if r.w.History > 0 {
			r.clock.advance(24 * time.Hour)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

// month runs the requests at random moments. Reads choose among all objects; most real workloads read new objects
// more often, and cause fewer calls.
func (r *run) month(ctx context.Context, out *outcome, progress func(done, of int64)) error {
	writes, reads := r.w.Writes/r.v.Scale, r.w.Reads/r.v.Scale
	total := writes + reads
	gap := float64(monthLength) / float64(r.v.Scale) / float64(total)
	step := max(1, total/100)
	for i := int64(0); i < total; i++ {
		if i%step == 0 {
			out.Curve = append(out.Curve, point{float64(i), float64(r.log.total())})
			progress(i, total)
			if ctx.Err() != nil {
				return ctx.Err()
			}
		}
		r.clock.advance(time.Duration(gap * r.rng.ExpFloat64()))
		t := r.tenants[r.rng.IntN(len(r.tenants))]
		var err error
		if r.rng.Int64N(writes+reads) < writes {
			writes--
			err = r.write(t)
		} else {
			reads--
			err = r.read(t)
		}
		if err != nil {
			return err
		}
		out.Requests++
	}
	out.Curve = append(out.Curve, point{float64(total), float64(r.log.total())})
	progress(total, total)
	return nil
}

// labBody is small: only the number of requests counts here.
var labBody = [][]byte{make([]byte, 64)}

func (r *run) write(t *tenant) error {
	h := map[string]string{"x-amz-server-side-encryption": "aws:kms", "x-amz-server-side-encryption-aws-kms-key-id": t.keyARN}
	if r.v.BucketKeys {
		h["x-amz-server-side-encryption-bucket-key-enabled"] = "true"
	}
	err := r.send(r.anyReplica(), &ask{method: http.MethodPut, path: t.path(t.objects), header: h, body: labBody, user: r.anyUser(t)})
	t.objects++
	return err
}

func (r *run) read(t *tenant) error {
	return r.send(r.anyReplica(), &ask{method: http.MethodGet, path: t.path(t.choose(r.rng)), user: r.anyUser(t)})
}

// choose returns an object's index. Each object of the full history is equally likely.
func (t *tenant) choose(rng *rand.Rand) int {
	if i := rng.IntN(t.stands + t.objects - t.history); i >= t.stands {
		return t.history + i - t.stands
	}
	return rng.IntN(t.history)
}

func (r *run) anyReplica() *replica { return r.replicas[r.rng.IntN(len(r.replicas))] }

func (r *run) anyUser(t *tenant) user { return t.users[r.rng.IntN(len(t.users))] }

func (t *tenant) path(i int) string {
	return fmt.Sprintf("/%s/%s%07d", t.bucket, nullstore.KeptPrefix, i)
}
