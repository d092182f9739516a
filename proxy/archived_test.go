package proxy

import (
	"bytes"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"waxseal/proxy/proxytest"
	"waxseal/proxy/s3"
)

// TestArchivedIsNotTampered: the store's InvalidObjectState, about an archived object, passes to the client and raises no
// alarm of tampering. Waxseal's own InvalidObjectState does.
func TestArchivedIsNotTampered(t *testing.T) {
	k, u := overMemory(t, proxytest.Options{}, nil)
	for _, key := range []string{"archived", "altered"} {
		k.mustDo(t, "PUT", "/bkt/"+key, nil, bytes.Repeat([]byte("x"), 1000))
	}
	u.SetHook(func(op proxytest.Op) proxytest.Fault {
		if op.Name == "GetObject" && op.Key == "archived" {
			return proxytest.Fault{Early: s3.NewError(s3.InvalidObjectState)}
		}
		return proxytest.Fault{}
	})
	u.Mutate("bkt", "altered", func(s *proxytest.Stored) { s.Header.Set("X-Amz-Meta-Waxseal", "AAAA") })
	for key, alarms := range map[string]float64{"archived": 0, "altered": 1} {
		before := tamperAlarms(t, k)
		resp, body := k.do(t, "GET", "/bkt/"+key, nil, nil)
		if e := s3.ParseError(resp.StatusCode, body); e.Code != s3.InvalidObjectState {
			t.Errorf("%s: %s %s", key, resp.Status, e.Code)
		}
		if got := tamperAlarms(t, k) - before; got != alarms {
			t.Errorf("%s: %v alarms, want %v", key, got, alarms)
		}
	}
}

func tamperAlarms(t *testing.T, k *kit) float64 {
	t.Helper()
	r := prometheus.NewRegistry()
	r.MustRegister(k.server.metrics.tampered)
	families, err := r.Gather()
	if err != nil || len(families) != 1 {
		t.Fatal(families, err)
	}
	return families[0].GetMetric()[0].GetCounter().GetValue()
}
