package server

import (
	"github.com/spf13/cobra"
)

// didYouMean returns a hint for the error about an unknown name, empty if no known name is near: "; did you mean
// --listen?" for --lsten.
func didYouMean(name string, known []string) string {
	if near := Nearest(name, known); near != "" {
		return "; did you mean " + near + "?"
	}
	return ""
}

// Nearest returns the known name that cobra would suggest for a mistyped name: at most two edits away, or with the name
// as its prefix.
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
