package server

import (
	"errors"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// TestUnknownVariables refuses unknown variables beginning with WAXSEAL_, and suggests the nearest known variable.
func TestUnknownVariables(t *testing.T) {
	for entry, want := range map[string]string{
		"WAXSEAL_UPSTREAM_ENDPIONT=https://store.example": "did you mean WAXSEAL_UPSTREAM_ENDPOINT?",
		"WAXSEAL_UPSTREAM_ENPOINT=https://store.example":  "did you mean WAXSEAL_UPSTREAM_ENDPOINT?",
		"WAXSEAL_DATADIR=/data":                           "did you mean WAXSEAL_DATA_DIR?",
		"WAXSEAL_ROOT_SECRETS=x":                          "did you mean WAXSEAL_ROOT_SECRET?",
		"WAXSEAL_SECRETKEY=x":                             "did you mean WAXSEAL_SECRET_KEY?",
		"WAXSEAL_FROBNICATE=":                             "WAXSEAL_FROBNICATE: waxseal reads no such variable",
		"WAXSEAL_PORT=9800":                               "WAXSEAL_PORT: waxseal reads no such variable",

		"HOME=/": "", "WAXSEAL=/usr/bin/waxseal": "", "WAXSEAL_CONFIG=f": "", "WAXSEAL_KMS_TOKEN_FILE=f": "",
		"WAXSEAL_SERVICE_HOST=10.0.0.1": "", "WAXSEAL_SERVICE_PORT=9800": "", "WAXSEAL_SERVICE_PORT_S3=9800": "",
		"WAXSEAL_PORT=tcp://10.0.0.1:9800": "", "WAXSEAL_PORT_9800_TCP_ADDR=10.0.0.1": "", "WAXSEAL_KMS_SERVICE_HOST=10.0.0.1": "",
	} {
		err := errors.Join(unknownVariables([]string{"PATH=/bin", entry})...)
		switch {
		case want == "" && err != nil:
			t.Errorf("%s: %v", entry, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: %v; want %q", entry, err, want)
		case err != nil && strings.Contains(err.Error(), "store.example"):
			t.Errorf("%s: its value is shown: %v", entry, err)
		}
	}
	c := Default()
	f := pflag.NewFlagSet("", pflag.ContinueOnError)
	c.Flags(f)
	f.VisitAll(func(flag *pflag.Flag) {
		if err := errors.Join(unknownVariables([]string{envName(flag.Name) + "=x"})...); err != nil {
			t.Error(err)
		}
	})
}
