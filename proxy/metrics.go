package proxy

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics are the S3 endpoint's counters. Register it with a Prometheus registry.
type Metrics struct {
	requests       *prometheus.CounterVec
	duration       *prometheus.HistogramVec
	bytes          *prometheus.CounterVec
	bytesIn        prometheus.Counter // of bytes
	bytesOut       prometheus.Counter
	inflight       prometheus.Gauge
	cut            prometheus.Counter
	tampered       prometheus.Counter
	plaintextReads prometheus.Counter
	listedAsStored *prometheus.CounterVec
	store          *prometheus.CounterVec
	storeDuration  *prometheus.HistogramVec
}

// NewMetrics makes the counters.
func NewMetrics() *Metrics {
	buckets := []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60}
	m := &Metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "waxseal_s3_requests_total",
			Help: "S3 requests by operation and status."}, []string{"operation", "status"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "waxseal_s3_request_seconds",
			Help: "Time from a request's header to the end of its answer.", Buckets: buckets}, []string{"operation"}),
		bytes: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "waxseal_s3_bytes_total",
			Help: "Plaintext bytes of bodies, in from and out to clients."}, []string{"direction"}),
		inflight: prometheus.NewGauge(prometheus.GaugeOpts{Name: "waxseal_s3_requests_in_flight",
			Help: "Requests being worked on."}),
		cut: prometheus.NewCounter(prometheus.CounterOpts{Name: "waxseal_s3_answers_cut_total",
			Help: "Answers that were cut mid-stream because the rest did not come or did not authenticate."}),
		tampered: prometheus.NewCounter(prometheus.CounterOpts{Name: "waxseal_s3_tampered_total",
			Help: "Reads of objects that failed authentication."}),
		plaintextReads: prometheus.NewCounter(prometheus.CounterOpts{Name: "waxseal_s3_plaintext_reads_total",
			Help: "Objects served that were stored without waxseal (read_through)."}),
		listedAsStored: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "waxseal_s3_listed_as_stored_total",
			Help: "Entries of listings that show what is stored, because the object is not sealed or cannot be read."}, []string{"reason"}),
		store: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "waxseal_store_requests_total",
			Help: "Requests to the store by method and status; status 0 is no answer."}, []string{"method", "status"}),
		storeDuration: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "waxseal_store_request_seconds",
			Help: "Time until the store's answer began.", Buckets: buckets}, []string{"method"}),
	}
	m.preset()
	m.bytesIn, m.bytesOut = m.bytes.WithLabelValues("in"), m.bytes.WithLabelValues("out")
	return m
}

// preset makes the counters that alerts look at, with 0: increase() does not see the first event of a counter that
// begins with it.
func (m *Metrics) preset() {
	for i := range routes {
		for _, status := range []string{"200", "500", "503"} {
			m.requests.WithLabelValues(routes[i].name, status)
		}
	}
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPut, http.MethodPost, http.MethodDelete} {
		m.store.WithLabelValues(method, "0")
	}
}

func (m *Metrics) all() []prometheus.Collector {
	return []prometheus.Collector{m.requests, m.duration, m.bytes, m.inflight, m.cut, m.tampered, m.plaintextReads, m.listedAsStored, m.store, m.storeDuration}
}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range m.all() {
		c.Describe(ch)
	}
}

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	for _, c := range m.all() {
		c.Collect(ch)
	}
}

func (m *Metrics) storeRequest(method string, resp *http.Response, err error, took time.Duration) {
	status := 0
	if err == nil {
		status = resp.StatusCode
	}
	m.store.WithLabelValues(method, strconv.Itoa(status)).Inc()
	m.storeDuration.WithLabelValues(method).Observe(took.Seconds())
}
