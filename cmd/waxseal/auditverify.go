package main

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"waxseal/keystore/audit"
	"waxseal/proxy/server"
)

func auditVerifyCommand() *cobra.Command {
	var check server.AuditCheck
	var keyFile, anchors string
	var asJSON bool
	cmd := operatorCommand(&cobra.Command{
		Use:   "verify",
		Short: "Compare the audit records with their signed digests, also while waxseal serves",
		Long: "Compare the audit records with their signed digests, the digests with each other, and the newest with the\n" +
			"state. It says what is edited, missing or added, and then fails; and what is as it should be: files that were\n" +
			"pruned, records that no digest attests yet, processes that ended without closing (a crash). At last it prints\n" +
			"the newest digest: write it down elsewhere, and name it the next time with --anchor.",
		Example: "  waxseal audit verify\n" +
			"  waxseal audit verify --dir copy-of-audit --public-key waxseal-audit.pem --anchor 91c0...:42:5f1e...",
		Args: cobra.NoArgs,
	}, func(cmd *cobra.Command, c *server.Config, _ []string) (err error) {
		if check.Anchors, err = parseAnchors(anchors); err != nil {
			return err
		}
		if keyFile != "" {
			if check.Keys, err = readPublicKeys(keyFile); err != nil {
				return err
			}
		}
		report, err := server.VerifyAudit(cmd.Context(), c, check)
		if err != nil {
			return err
		}
		return showAuditReport(cmd.OutOrStdout(), report, asJSON)
	})
	f := cmd.Flags()
	f.StringVar(&check.Dir, "dir", "", "verify this copy of the `DIR` of records, without the state; needs --public-key")
	f.StringVar(&keyFile, "public-key", "", "PEM `FILE` with the public keys that may have signed; none: those of the state")
	f.StringVar(&anchors, "anchor", "", "`CHAIN:SEQUENCE:HASH` that an earlier verification has printed; several with commas between")
	f.BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

func showAuditReport(w io.Writer, r *audit.Report, asJSON bool) error {
	if asJSON {
		if err := json.NewEncoder(w).Encode(r); err != nil {
			return err
		}
	} else if err := printAuditReport(w, r); err != nil {
		return err
	}
	alarms := 0
	for _, f := range r.Findings {
		if f.Result.Alarm() {
			alarms++
		}
	}
	if alarms > 0 {
		return fmt.Errorf("the audit records are not as they were written: %d findings", alarms)
	}
	return nil
}

func printAuditReport(w io.Writer, r *audit.Report) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, f := range r.Findings {
		at := f.File
		if f.Sequence > 0 {
			at = strings.TrimSpace(fmt.Sprintf("digest %d  %s", f.Sequence, f.File))
		}
		fmt.Fprintf(table, "%s\t%s\t%s\n", f.Result, at, f.Text)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(w, "%d digests hold; %d files are as they were closed; %d records\n", r.Digests, r.Files, r.Records)
	for _, h := range r.Heads {
		if h.Sequence > 0 {
			fmt.Fprintf(w, "newest digest: %s:%d:%s\n", h.Chain, h.Sequence, h.Hash)
		}
	}
	return nil
}

func parseAnchors(texts string) (anchors []audit.Head, err error) {
	if texts == "" {
		return nil, nil
	}
	for text := range strings.SplitSeq(texts, ",") {
		f := strings.Split(text, ":")
		if len(f) != 3 {
			return nil, fmt.Errorf("--anchor: %q is not CHAIN:SEQUENCE:HASH", text)
		}
		sequence, err := strconv.ParseUint(f[1], 10, 64)
		if err != nil || sequence == 0 {
			return nil, fmt.Errorf("--anchor: %q: %q is not a sequence", text, f[1])
		}
		anchors = append(anchors, audit.Head{Chain: f[0], Sequence: sequence, Hash: f[2]})
	}
	return anchors, nil
}

// pemType is the type of a public key's PEM block.
const pemType = "PUBLIC KEY"

func readPublicKeys(name string) (map[string]ed25519.PublicKey, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("--public-key: %w", err)
	}
	keys := make(map[string]ed25519.PublicKey)
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
		key, ok := parsed.(ed25519.PublicKey)
		if err != nil || !ok || block.Type != pemType {
			return nil, fmt.Errorf("--public-key: %s has something else than Ed25519 public keys in it", name)
		}
		keys[audit.KeyID(key)] = key
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("--public-key: %s has no public key in it", name)
	}
	return keys, nil
}

func auditPublicKeyCommand() *cobra.Command {
	return operatorCommand(&cobra.Command{
		Use:   "public-key",
		Short: "Print the public keys that audit digests are signed with, in PEM: keep them elsewhere",
		Args:  cobra.NoArgs,
	}, func(cmd *cobra.Command, c *server.Config, _ []string) error {
		trust, err := server.AuditTrust(cmd.Context(), c)
		if err != nil {
			return err
		}
		if len(trust.Keys) == 0 {
			return errors.New("the state has no key for audit digests: no waxseal with digests has served from it")
		}
		for _, id := range slices.Sorted(maps.Keys(trust.Keys)) {
			der, err := x509.MarshalPKIXPublicKey(trust.Keys[id])
			if err != nil {
				return err
			}
			if err := pem.Encode(cmd.OutOrStdout(), &pem.Block{Type: pemType, Bytes: der}); err != nil {
				return err
			}
		}
		return nil
	})
}

func auditPruneCommand() *cobra.Command {
	var before string
	cmd := operatorCommand(&cobra.Command{
		Use:   "prune",
		Short: "Remove old audit records and sign that they were removed, also while waxseal serves",
		Long: "Remove the oldest closed files of audit records, those whose last record is from before a time, and sign a mark\n" +
			"that says so. With --audit-bucket, files that are not delivered yet stay. Files that were removed in any other\n" +
			"way are missing to waxseal audit verify.",
		Example: "  waxseal audit prune --before 2160h\n  waxseal audit prune --before 2026-01-01",
		Args:    cobra.NoArgs,
	}, func(cmd *cobra.Command, c *server.Config, _ []string) error {
		until, err := moment("--before", before, time.Now())
		if err == nil && until.IsZero() {
			err = errors.New("--before: say which records may go")
		}
		if err != nil {
			return err
		}
		pruned, err := server.PruneAudit(cmd.Context(), c, until)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "%d files removed\n", pruned.Files)
		return err
	})
	cmd.Flags().StringVar(&before, "before", "", "`TIME`: 2026-01-02T15:04:05Z, 2026-01-02, or a duration back from now")
	return cmd
}
