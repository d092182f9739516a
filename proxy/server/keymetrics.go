package server

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"waxseal/keystore/bucketkey"
	"waxseal/keystore/local"
)

// keyMetrics exports the counts of bucket keys to Prometheus.
type keyMetrics struct {
	stats func() bucketkey.Stats

	requests, calls, saved, chain, cache, errs *prometheus.Desc
}

func newKeyMetrics(stats func() bucketkey.Stats) *keyMetrics {
	d := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("waxseal_keys_"+name, help, labels, nil)
	}
	return &keyMetrics{
		stats:    stats,
		requests: d("requests_total", "Uses of bucket keys, by whether a call to the key service was needed.", "result"),
		calls:    d("service_calls_total", "Calls to the key service, by what they were for.", "call"),
		saved:    d("service_calls_avoided_total", "Calls to the key service that a key for each object would have needed."),
		chain:    d("chain_reads_total", "Earlier bucket keys that their successor was to open, by whether it did.", "result"),
		cache:    d("cache_removals_total", "Opened bucket keys that left memory, by reason.", "reason"),
		errs:     d("problems_total", "What did not go the ordinary way, by kind.", "kind"),
	}
}

// Describe implements prometheus.Collector.
func (m *keyMetrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.requests, m.calls, m.saved, m.chain, m.cache, m.errs} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (m *keyMetrics) Collect(ch chan<- prometheus.Metric) {
	s := m.stats()
	count := func(d *prometheus.Desc, n uint64, label ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), label...)
	}
	count(m.requests, s.Hits, "hit")
	count(m.requests, s.Misses, "miss")
	count(m.calls, s.GenerateDataKey, "GenerateDataKey")
	count(m.calls, s.Decrypt, "Decrypt")
	count(m.calls, s.ServiceDecrypt, "Decrypt by the service")
	count(m.calls, s.AuthorizeGenerateDataKey, "authorize GenerateDataKey")
	count(m.calls, s.AuthorizeDecrypt, "authorize Decrypt")
	count(m.calls, s.DescribeKey, "DescribeKey")
	count(m.saved, s.CallsAvoided)
	count(m.chain, s.ChainOpens, "opened")
	count(m.chain, s.ChainMisses, "not opened")
	count(m.cache, s.Expiries, "expired")
	count(m.cache, s.Evictions, "evicted")
	count(m.errs, s.NegativeHits, "refusal repeated")
	count(m.errs, s.LostRaces, "lost race")
	count(m.errs, s.ContextOverflows, "too many contexts")
	count(m.errs, s.StateErrors, "state")
}

// serviceMetrics exports the requests to the embedded key service, by operation and result.
type serviceMetrics struct {
	operations []string
	counts     func() []local.Count
	requests   *prometheus.Desc
}

func newServiceMetrics(operations []string, counts func() []local.Count) *serviceMetrics {
	return &serviceMetrics{operations: operations, counts: counts, requests: prometheus.NewDesc("waxseal_kms_requests_total",
		"Requests to the embedded key service, by operation and exception (none: success); ThrottlingException counts what --kms-rate refused.",
		[]string{"operation", "exception"}, nil)}
}

// Describe implements prometheus.Collector.
func (m *serviceMetrics) Describe(ch chan<- *prometheus.Desc) { ch <- m.requests }

// throttled is the exception of requests refused by --kms-rate.
const throttled = "ThrottlingException"

// Collect implements prometheus.Collector. Each operation has a count of throttled requests from the start, even 0:
// increase() does not see the first event of a counter that begins with it.
func (m *serviceMetrics) Collect(ch chan<- prometheus.Metric) {
	refused := make(map[string]uint64)
	for _, name := range m.operations {
		refused[name] = 0
	}
	for _, c := range m.counts() {
		if c.Code == throttled {
			refused[c.Operation] = c.N
			continue
		}
		ch <- prometheus.MustNewConstMetric(m.requests, prometheus.CounterValue, float64(c.N), c.Operation, c.Code)
	}
	for operation, n := range refused {
		ch <- prometheus.MustNewConstMetric(m.requests, prometheus.CounterValue, float64(n), operation, throttled)
	}
}

// pruneEvery is the time between two removals of unused bucket keys' records from the state.
const pruneEvery = time.Hour

// prune removes the records of unused bucket keys every pruneEvery, until ctx ends.
func prune(ctx context.Context, keys *bucketkey.Keys, log *slog.Logger) {
	tick := time.NewTicker(pruneEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if err := keys.Prune(ctx); err != nil && ctx.Err() == nil {
				log.Warn("bucket keys whose period is over are still in the state", "err", err)
			}
		}
	}
}
