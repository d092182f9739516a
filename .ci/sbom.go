//go:build ignore

// Sbom prints an SBOM (SPDX 2.3, JSON) of a Go program: the modules that its build information names, with their sums.
//
//	go run .ci/sbom.go PROGRAM
//
// The document's time is the commit's, so that the same program has the same SBOM. Format:
// https://spdx.github.io/spdx-spec/v2.3/
package main

import (
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
)

type document struct {
	Version       string         `json:"spdxVersion"`
	License       string         `json:"dataLicense"`
	ID            string         `json:"SPDXID"`
	Name          string         `json:"name"`
	Namespace     string         `json:"documentNamespace"`
	Creation      creation       `json:"creationInfo"`
	Describes     []string       `json:"documentDescribes"`
	Packages      []component    `json:"packages"`
	Relationships []relationship `json:"relationships"`
}

type creation struct {
	Created  string   `json:"created"`
	Creators []string `json:"creators"`
}

type component struct {
	ID         string      `json:"SPDXID"`
	Name       string      `json:"name"`
	Version    string      `json:"versionInfo"`
	Location   string      `json:"downloadLocation"`
	Analyzed   bool        `json:"filesAnalyzed"`
	Checksums  []checksum  `json:"checksums,omitempty"`
	References []reference `json:"externalRefs,omitempty"`
}

type checksum struct {
	Algorithm string `json:"algorithm"`
	Value     string `json:"checksumValue"`
}

type reference struct {
	Category string `json:"referenceCategory"`
	Type     string `json:"referenceType"`
	Locator  string `json:"referenceLocator"`
}

type relationship struct {
	From string `json:"spdxElementId"`
	Type string `json:"relationshipType"`
	To   string `json:"relatedSpdxElement"`
}

func main() {
	if err := print(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "sbom:", err)
		os.Exit(1)
	}
}

func print(args []string) error {
	if len(args) != 1 {
		return errors.New("usage: go run .ci/sbom.go PROGRAM")
	}
	program, err := os.ReadFile(args[0])
	if err != nil {
		return err
	}
	info, err := buildinfo.ReadFile(args[0])
	if err != nil {
		return err
	}
	doc, err := describe(filepath.Base(args[0]), sha256.Sum256(program), info)
	if err != nil {
		return err
	}
	out := json.NewEncoder(os.Stdout)
	out.SetIndent("", "  ")
	return out.Encode(doc)
}

func describe(name string, sum [32]byte, info *buildinfo.BuildInfo) (*document, error) {
	settings := make(map[string]string)
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	if settings["vcs.time"] == "" || settings["vcs.modified"] == "true" {
		return nil, errors.New("the program was not built from a commit")
	}
	doc := &document{
		Version: "SPDX-2.3", License: "CC0-1.0", ID: "SPDXRef-DOCUMENT", Name: name,
		Namespace: "https://waxseal.invalid/spdx/" + name + "-" + hex.EncodeToString(sum[:8]),
		Creation:  creation{settings["vcs.time"], []string{"Tool: waxseal-sbom"}},
		Describes: []string{"SPDXRef-Program"},
	}
	doc.add("SPDXRef-DOCUMENT", "DESCRIBES", component{
		ID: "SPDXRef-Program", Name: name, Version: settings["vcs.revision"], Location: "NOASSERTION",
		Checksums: []checksum{{"SHA256", hex.EncodeToString(sum[:])}},
	})
	doc.add("SPDXRef-Program", "DEPENDS_ON", component{
		ID: "SPDXRef-Go", Name: "go", Version: info.GoVersion, Location: "NOASSERTION",
		References: []reference{{"PACKAGE-MANAGER", "purl", "pkg:golang/std@" + strings.TrimPrefix(info.GoVersion, "go")}},
	})
	for i, m := range info.Deps {
		c, err := moduleOf(fmt.Sprintf("SPDXRef-Module-%d", i+1), m)
		if err != nil {
			return nil, err
		}
		doc.add("SPDXRef-Program", "DEPENDS_ON", c)
	}
	return doc, nil
}

func (d *document) add(from, relation string, c component) {
	d.Packages = append(d.Packages, c)
	d.Relationships = append(d.Relationships, relationship{from, relation, c.ID})
}

// moduleOf describes the module that was built, which is the replacement where go.mod has one. Its checksum is that of
// go.sum ("h1:" and base64 of a SHA-256 over the module's files).
func moduleOf(id string, m *debug.Module) (component, error) {
	if m.Replace != nil {
		m = m.Replace
	}
	sum, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(m.Sum, "h1:"))
	if err != nil || len(sum) != sha256.Size {
		return component{}, fmt.Errorf("%s %s has no sum", m.Path, m.Version)
	}
	return component{
		ID: id, Name: m.Path, Version: m.Version, Location: "NOASSERTION",
		Checksums:  []checksum{{"SHA256", hex.EncodeToString(sum)}},
		References: []reference{{"PACKAGE-MANAGER", "purl", "pkg:golang/" + m.Path + "@" + m.Version}},
	}, nil
}
