package server

import (
	"github.com/spf13/cobra"
)

// didYouMean is a hint behind an error about an unknown name, empty where no known name is near: "; did you mean
// --listen?" for --lsten.
func didYouMean(name string, known []string) string {
	if near := Nearest(name, known); near != "" {
		return "; did you mean " + near + "?"
	}
	return ""
}

// Nearest is the known name that cobra would suggest for a mistyped one: at most two edits away, or begun by it.
func Nearest(name string, known []string) string {
	names := &cobra.Command{SuggestionsMinimumDistance: 2}
	for _, k := range known {
		names.AddCommand(&cobra.Command{Use: k, Run: func(*cobra.Command, []string) {}})
	}
	if near := names.SuggestionsFor(name); name != "" && len(near) > 0 {
		return near[0]
	}
	return ""
}
