package server

import (
	"fmt"
	"os"
	"regexp"
	"strings"

	"github.com/spf13/pflag"
)

// secretVariables are the variables without a flag.
var secretVariables = []string{
	"WAXSEAL_ACCESS_KEY", "WAXSEAL_SECRET_KEY", "WAXSEAL_UPSTREAM_ACCESS_KEY", "WAXSEAL_UPSTREAM_SECRET_KEY", "WAXSEAL_ROOT_SECRET",
	envKMSAccessKey, envKMSSecretKey, envKMSToken, envKMSTokenFile, envWebhookToken, envStateUser, envStatePassword,
}

// serviceLink matches the variables given to every container by Kubernetes and Docker links for a service whose name
// begins with waxseal: WAXSEAL_SERVICE_HOST, WAXSEAL_PORT=tcp://10.0.0.1:9800, WAXSEAL_PORT_9800_TCP_ADDR.
// https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
var serviceLink = regexp.MustCompile(`^WAXSEAL_(\w+_)?(SERVICE_HOST=.*|SERVICE_PORT(_\w+)?=[0-9]+|PORT=[a-z]+://.*|PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?=.*|NAME=/.*)$`)

// unknownVariables refuses unknown variables beginning with WAXSEAL_. With a mistyped WAXSEAL_UPSTREAM_ENDPOINT, for
// example, objects would go to the embedded store.
func unknownVariables(environ []string) (mistakes []error) {
	known := append([]string{envName("config")}, secretVariables...)
	c := Default()
	f := pflag.NewFlagSet("", pflag.ContinueOnError)
	c.Flags(f)
	f.VisitAll(func(flag *pflag.Flag) { known = append(known, envName(flag.Name)) })
	is := make(map[string]bool, len(known))
	for _, name := range known {
		is[name] = true
	}
	for _, entry := range environ {
		name, _, _ := strings.Cut(entry, "=")
		// Variables of tests and benchmarks belong to the build, not to the program.
		if !strings.HasPrefix(name, "WAXSEAL_") || is[name] || serviceLink.MatchString(entry) ||
			strings.HasPrefix(name, "WAXSEAL_TEST_") || strings.HasPrefix(name, "WAXSEAL_BENCH_") {
			continue
		}
		mistakes = append(mistakes, fmt.Errorf("%s: waxseal reads no such variable%s", name, didYouMean(name, known)))
	}
	return mistakes
}

// Load fills c from the file, this process's environment and the parsed flags f. It returns the first mistake.
func (c *Config) Load(f *pflag.FlagSet) error { return c.readProcess(f).first() }

// readProcess reads with this process's environment.
func (c *Config) readProcess(f *pflag.FlagSet) *reading {
	r := c.read(f, os.LookupEnv)
	r.mistakes = append(unknownVariables(os.Environ()), r.mistakes...)
	return r
}
