package main

import "testing"

// TestParseWarp reads figures as warp 1.4 prints them, after lines of progress.
func TestParseWarp(t *testing.T) {
	const printed = "\n\n" + `{"v": 2, "final": true, "by_op_type": {
		"PUT": {"total_errors": 0, "throughput": {"measure_duration_millis": 500, "bytes": 1, "objects": 1}},
		"GET": {"total_requests": 3891, "total_errors": 2, "throughput": {"measure_duration_millis": 3000, "bytes": 7671061.9, "objects": 1872.8}}}}` + "\n"
	f, err := parseWarp([]byte(printed), opGet)
	if err != nil || f.Errors != 2 || f.PerSecond < 624 || f.PerSecond > 625 || f.MiBps < 2.43 || f.MiBps > 2.44 {
		t.Errorf("parsed %+v, %v", f, err)
	}
	if _, err := parseWarp([]byte(printed), opHead); err == nil {
		t.Error("figures of an operation that was not measured")
	}
	if _, err := parseWarp(nil, opGet); err == nil {
		t.Error("figures of nothing")
	}
}
