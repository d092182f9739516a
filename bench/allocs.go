package main

import (
	"bufio"
	"net/http"
	"strconv"
	"strings"
)

// mallocs is how many objects waxseal has allocated since its start, -1 when it does not say.
func mallocs(admin string) float64 {
	resp, err := http.Get("http://" + admin + "/metrics")
	if err != nil {
		return -1
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		if v, ok := strings.CutPrefix(lines.Text(), "go_memstats_mallocs_total "); ok {
			if n, err := strconv.ParseFloat(v, 64); err == nil {
				return n
			}
		}
	}
	return -1
}

// scrapeCost returns the allocations of mallocs itself, measured on an idle waxseal.
func scrapeCost(admin string) float64 {
	mallocs(admin) // the first makes a connection
	first := mallocs(admin)
	return max(0, mallocs(admin)-first)
}
