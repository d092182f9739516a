package main

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"waxseal/proxy/jobs"
	"waxseal/proxy/ledger"
	"waxseal/proxy/server"
)

// formats maps the values of --format to functions.
var formats = map[string]func(io.Writer, []ledger.Row) error{"table": inventoryTable, "json": inventoryJSON, "csv": inventoryCSV}

func inventoryCommand() *cobra.Command {
	var format string
	var estimate bool
	cmd := newJobCommand(&cobra.Command{
		Use:   "inventory [s3://BUCKET[/PREFIX]]",
		Short: "Count objects and bytes by bucket, encryption and KMS key, and what is not encrypted",
		Long: "Count the objects of every bucket, in all versions, and their bytes by encryption and KMS key, with what is not\n" +
			"encrypted. Each object costs a HEAD, and no use of a key. waxseal keeps an estimate of the same sums that is never\n" +
			"too low: writes count at once, deletes and overwrites with the next inventory of all buckets, which replaces the\n" +
			"estimate. --estimate prints it without looking at an object. --guard-key-deletion goes by it.",
		Example: "  waxseal inventory\n  waxseal inventory --format csv s3://photos\n  waxseal inventory --estimate",
	}, cobra.MaximumNArgs(1), func(cmd *cobra.Command, c *server.Config, run jobRun) error {
		if run.options.JSON {
			format = "json"
		}
		show, ok := formats[format]
		if !ok {
			return fmt.Errorf("--format: %q is not one of: table, json, csv", format)
		}
		if estimate {
			if run.options.Bucket != "" || run.endpoint != "" {
				return errors.New("--estimate is of all buckets of this data directory")
			}
			return printEstimate(cmd, c, show)
		}
		rows, err := takeInventory(cmd.Context(), c, run)
		if err != nil {
			return err
		}
		return show(cmd.OutOrStdout(), rows)
	})
	cmd.Flags().StringVar(&format, "format", "table", "`FORMAT`: table, json or csv")
	cmd.Flags().BoolVar(&estimate, "estimate", false, "print the estimate that waxseal keeps, which is never too low, at once")
	return cmd
}

func printEstimate(cmd *cobra.Command, c *server.Config, show func(io.Writer, []ledger.Row) error) error {
	report, err := server.Ledger(cmd.Context(), c)
	if err != nil {
		return err
	}
	if report.Walk == nil {
		fmt.Fprintln(cmd.ErrOrStderr(), "There was no full inventory yet: objects older than this state are not in the estimate.")
	}
	return show(cmd.OutOrStdout(), report.Rows)
}

// takeInventory counts the objects. A count of all buckets replaces the estimate.
func takeInventory(ctx context.Context, c *server.Config, run jobRun) (rows []ledger.Row, err error) {
	full := run.options.Bucket == "" && run.endpoint == ""
	err = run.with(ctx, c, func(a *server.S3Access, e jobs.Endpoint) error {
		var walk *server.LedgerWalk
		if full {
			if walk, err = a.BeginWalk(ctx); err != nil {
				return err
			}
		}
		if rows, err = jobs.Inventory(ctx, e, run.options); err != nil || !full {
			return err
		}
		return walk.Commit(ctx, rows)
	})
	return rows, err
}

func inventoryTable(w io.Writer, rows []ledger.Row) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "BUCKET\tENCRYPTION\tOBJECTS\tBYTES\tKEY")
	var all, plain ledger.Sum
	for _, r := range rows {
		fmt.Fprintf(table, "%s\t%s\t%d\t%d\t%s\n", r.Bucket, r.Mode, r.Objects, r.Bytes, dash(r.Key))
		all = all.Plus(r.Sum)
		if r.Mode == ledger.Plaintext {
			plain = plain.Plus(r.Sum)
		}
	}
	if err := table.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "\n%d objects, %d bytes; not encrypted: %d objects, %d bytes\n", all.Objects, all.Bytes, plain.Objects, plain.Bytes)
	return err
}

// inventoryRow is a line of the inventory in JSON.
type inventoryRow struct {
	ledger.Holding
	ledger.Sum
}

func inventoryJSON(w io.Writer, rows []ledger.Row) error {
	out := make([]inventoryRow, len(rows))
	for i, r := range rows {
		out[i] = inventoryRow{r.Holding, r.Sum}
	}
	return json.NewEncoder(w).Encode(out)
}

func inventoryCSV(w io.Writer, rows []ledger.Row) error {
	out := csv.NewWriter(w)
	lines := [][]string{{"bucket", "encryption", "key", "objects", "bytes"}}
	for _, r := range rows {
		lines = append(lines, []string{r.Bucket, r.Mode, r.Key, strconv.FormatInt(r.Objects, 10), strconv.FormatInt(r.Bytes, 10)})
	}
	return out.WriteAll(lines)
}
