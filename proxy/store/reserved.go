package store

import "strings"

// Reserved reports whether a path's first segment is an API of the store's own, which would obey waxseal's credentials.
func Reserved(segment string) bool {
	for _, name := range []string{
		"minio",          // MinIO's admin API, metrics, health, node RPCs
		"admin", "swift", // Ceph RGW's admin and Swift APIs
	} {
		if strings.EqualFold(segment, name) {
			return true
		}
	}
	return false
}
