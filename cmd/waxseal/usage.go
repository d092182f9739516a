package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"waxseal/keystore/usage"
	"waxseal/proxy/server"
)

func usageCommand() *cobra.Command {
	var month string
	var asJSON bool
	cmd := operatorCommand(&cobra.Command{
		Use:   "usage",
		Short: "Count the key service's calls in a month, and what they cost at AWS with and without Bucket Keys",
		Long: "Count the key service's calls in a month by KMS key, bucket and requester (sessions under their role), as the\n" +
			"audit records have them: exact, also after a crash, and for months whose records were pruned. Calls that Bucket\n" +
			"Keys have avoided are approximate: a crash loses those of its last minute. Dollars are AWS's published prices\n" +
			"(" + usage.PriceSource + "): 20,000 requests a month are free, 10,000 more are $0.03.",
		Example: "  waxseal usage --month 2026-11",
		Args:    cobra.NoArgs,
	}, func(cmd *cobra.Command, c *server.Config, _ []string) (err error) {
		if month == "" {
			month = usage.MonthOf(time.Now())
		}
		if month, err = usage.ParseMonth(month); err != nil {
			return fmt.Errorf("--month: %w", err)
		}
		report, err := server.Usage(cmd.Context(), c, month)
		if err != nil {
			return err
		}
		if asJSON {
			return json.NewEncoder(cmd.OutOrStdout()).Encode(report)
		}
		return printUsage(cmd.OutOrStdout(), report)
	})
	cmd.Flags().StringVar(&month, "month", "", "`MONTH` in UTC, as 2026-11; none: this one")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

func printUsage(w io.Writer, r *usage.Report) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "CALLS\tREFUSED\tKEY\tBUCKET\tREQUESTER")
	for _, row := range r.Rows {
		key := row.Key[strings.LastIndexByte(row.Key, '/')+1:]
		fmt.Fprintf(table, "%d\t%d\t%s\t%s\t%s\n", row.Calls, row.Refused, dash(key), dash(row.Bucket), dash(row.Requester))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	asymmetric := ""
	if r.Asymmetric > 0 {
		asymmetric = fmt.Sprintf(" and %d of asymmetric keys, which are not in the dollars", r.Asymmetric)
	}
	_, err := fmt.Fprintf(w, "\n%s: %d calls%s, $%.2f\nwithout Bucket Keys about %d calls, $%.2f\nprices: %s\n",
		r.Month, r.Calls-r.Asymmetric, asymmetric, r.Dollars, r.Calls-r.Asymmetric+r.Avoided, r.Without, r.Prices)
	return err
}

func dash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}
