package main

import (
	"fmt"
	"strings"
)

// The size of the estimate on paper.
const (
	estimateObjects  = 1e10
	estimateReplicas = 100
	estimateReads    = 1e10 // a month
)

// last is a line's value at its largest number.
func (s *scaleSection) last(curve, line string) float64 {
	for _, c := range s.Curves {
		for _, l := range c.Lines {
			if c.File == curve && l.Name == line && len(l.Points) > 0 {
				return l.Points[len(l.Points)-1].Y
			}
		}
	}
	return 0
}

// writeEstimate extrapolates from the measurements to sizes far beyond a single machine.
func (r report) writeEstimate(b *strings.Builder) {
	if r.scale == nil {
		return
	}
	s := r.scale
	get, list := s.last("scale-objects", "GET"), s.last("scale-objects", "LIST, for each key")
	if get <= 0 {
		return
	}
	const windows = 30 * 24 * 60 / 5 // of five minutes, in a month
	fmt.Fprintf(b, "\n### An estimate on paper: 10,000,000,000 objects, 100 replicas\n\n")
	fmt.Fprintf(b, "- Nothing is kept for each object but its envelope, %d bytes of metadata, and 16 bytes for each 64 KiB: %.1f TB of envelopes, at the store. "+
		"waxseal's own state does not grow with objects.\n", s.Envelope, float64(s.Envelope)*estimateObjects/1e12)
	fmt.Fprintf(b, "- A small GET takes %.3f ms of CPU: a replica of two processors serves about %s a second, %d replicas %s. "+
		"Reading each object once takes them %.0f minutes.\n", get, thousands(int64(2000/get)), estimateReplicas,
		thousands(int64(2000/get*estimateReplicas)), estimateObjects/(2000/get*estimateReplicas)/60)
	if list > 0 {
		fmt.Fprintf(b, "- Listing all of it costs %.1f CPU hours where the pages are known, spread over the replicas; each remembers 200,000 entries, so almost all of "+
			"such a listing is cold, and costs the store one small read for each object unless its listings carry metadata.\n", list*estimateObjects/1000/3600)
	}
	const days = 30
	authorized, opened := int64(estimateReplicas*windows), int64(estimateReplicas*days*days)
	calls := authorized + opened
	fmt.Fprintf(b, "- KMS: each replica has each requester authorised once in a window of five minutes and opens each bucket key once a day. With bucket keys of a day and "+
		"objects of %d days in use all the time, one bucket under one KMS key that one requester reads costs at most %s + %s = %s calls a month, %s; "+
		"%s reads a month without Bucket Keys cost %s.\n",
		days, thousands(authorized), thousands(opened), thousands(calls), SymmetricMonth(1, calls).Bill().Total,
		thousands(int64(estimateReads)), SymmetricMonth(1, estimateReads).Bill().Total)
}
